import math

import numpy as np
import pytest
import torch

from diffpc.face3d import render as render_module
from diffpc.face3d.render import interpolate, rasterise, render, shade, vertex_normals

FRONTAL = 180 / 255 * 1.7 * (4 / math.sqrt(3) + 1) / 5


def mesh(*triangles):
    """A batch of one with separate corners for each triangle."""
    vertices = torch.tensor(triangles, dtype=torch.float32).reshape(1, -1, 3)
    return vertices, torch.arange(vertices.shape[1]).view(-1, 3)


def slow_reference(vertices, faces, height, width):
    """PyTorch3D's rules, face after face over the whole picture, in numpy's float32."""
    one, short = np.float32(1), min(height, width)

    def centres(side):
        span = np.float32(2 * side / short)
        return (span * np.arange(side, dtype=np.float32) + span / 2) / np.float32(side) - span / 2

    x, y = centres(width)[None, :], centres(height)[:, None]
    index = np.full((height, width), -1)
    nearest = np.full((height, width), np.inf, dtype=np.float32)
    for face, corners in enumerate(faces):
        a, b, c = vertices[corners]

        def edge(px, py, start, end):
            return (px - start[0]) * (end[1] - start[1]) - (py - start[1]) * (end[0] - start[0])

        area = edge(c[0], c[1], a, b)
        if abs(area) <= 1e-8 or min(a[2], b[2], c[2]) < 1e-8:
            continue
        area = area + one * np.float32(1e-8)
        w = [edge(x, y, b, c) / area, edge(x, y, c, a) / area, edge(x, y, a, b) / area]
        depth = w[0] * a[2] + w[1] * b[2] + w[2] * c[2]
        in_box = (x >= min(a[0], b[0], c[0])) & (x <= max(a[0], b[0], c[0]))
        in_box = in_box & (y >= min(a[1], b[1], c[1])) & (y <= max(a[1], b[1], c[1]))
        wins = in_box & (w[0] > 0) & (w[1] > 0) & (w[2] > 0) & (depth < nearest)
        index[wins], nearest[wins] = face, depth[wins]
    return index, nearest


def random_mesh(seed, n_faces):
    generator = np.random.default_rng(seed)
    vertices = generator.uniform(-1.3, 1.3, (n_faces, 3)).astype(np.float32)
    vertices[:, 2] = generator.uniform(-0.1, 3, n_faces)
    return vertices, generator.integers(0, n_faces, (n_faces, 3))


def test_triangle_by_hand():
    vertices, faces = mesh([[-1, -1, 2], [1, -1, 4], [-1, 1, 6]])
    seen = rasterise(vertices, faces, 4, 4)
    # The centres on the hypotenuse have a weight of exactly 0, so they are not covered.
    expected = [[0, 0, 0, -1], [0, 0, -1, -1], [0, -1, -1, -1], [-1, -1, -1, -1]]
    assert seen.face_index.tolist() == [expected]
    # The centre of row 0, column 1 is (-0.25, -0.75).
    torch.testing.assert_close(seen.barycentric[0, 0, 1], torch.tensor([0.5, 0.375, 0.125]))
    assert seen.depth[0, 0, 1].item() == pytest.approx(0.5 * 2 + 0.375 * 4 + 0.125 * 6)
    assert seen.depth[0, 3, 3] == -1
    assert seen.barycentric[0, 3, 3].tolist() == [0, 0, 0]


def test_shared_edge_has_neither_gap_nor_double_cover():
    a, b, c, d = [-0.71, -0.53, 1], [0.67, -0.61, 1], [0.73, 0.57, 1], [-0.69, 0.63, 1]
    both = rasterise(*mesh([a, b, c], [a, c, d]), 64, 64).face_index >= 0
    first = rasterise(*mesh([a, b, c]), 64, 64).face_index >= 0
    second = rasterise(*mesh([a, c, d]), 64, 64).face_index >= 0
    assert not (first & second).any()
    assert torch.equal(first | second, both)
    other_diagonal = rasterise(*mesh([a, b, d], [b, c, d]), 64, 64).face_index >= 0
    assert torch.equal(both, other_diagonal)


def test_centre_exactly_on_a_shared_edge_is_in_neither_face():
    a, b, c, d = [-1, -1, 1], [1, -1, 1], [1, 1, 1], [-1, 1, 1]
    seen = rasterise(*mesh([a, b, c], [a, c, d]), 4, 4).face_index[0]
    assert torch.equal(seen < 0, torch.eye(4, dtype=torch.bool))


def test_smallest_depth_wins_and_ties_go_to_the_lowest_index():
    corners = [[-1, -1], [1, -1], [0, 1]]
    far, near = ([[*point, z] for point in corners] for z in (5, 3))
    assert rasterise(*mesh(far, near), 9, 9).face_index.max() == 1
    assert rasterise(*mesh(far, near), 9, 9).face_index[0, 4, 4] == 1
    assert rasterise(*mesh(near, far), 9, 9).face_index.max() == 0
    assert rasterise(*mesh(near, near), 9, 9).face_index.max() == 0


def test_crossing_faces_are_settled_pixel_by_pixel():
    left_near = [[-4, -2, 1], [4, -2, 3], [0, 6, 2]]
    right_near = [[-4, -2, 3], [4, -2, 1], [0, 6, 2]]
    seen = rasterise(*mesh(left_near, right_near), 8, 8).face_index[0]
    assert (seen[:, :4] == 0).all()
    assert (seen[:, 4:] == 1).all()


def test_both_sides_of_a_face_are_seen():
    front = [[-0.9, -0.9, 1], [0.9, -0.8, 1], [0.1, 0.9, 1]]
    one = rasterise(*mesh(front), 16, 16)
    other = rasterise(*mesh(front[::-1]), 16, 16)
    assert (one.face_index >= 0).any()
    assert torch.equal(one.face_index, other.face_index)


@pytest.mark.parametrize(("height", "width"), [(4, 8), (8, 4)])
def test_short_side_spans_minus_one_to_one(height, width):
    half = 0.5 + 1e-3
    square = [-half, -half, 1], [half, -half, 1], [half, half, 1], [-half, half, 1]
    a, b, c, d = square
    # Cut by a line between the centres, so that no centre lies on the shared edge.
    e = [half, half - 1e-4, 1]
    seen = rasterise(*mesh([a, b, e], [a, e, c], [a, c, d]), height, width).face_index[0] >= 0
    columns, rows = seen.any(0).nonzero().flatten(), seen.any(1).nonzero().flatten()
    assert columns.tolist() == [width // 2 - 1, width // 2]
    assert rows.tolist() == [height // 2 - 1, height // 2]


def test_triangle_between_the_centres_is_not_seen():
    small = [[-0.1, -0.1, 1], [0.1, -0.1, 1], [0, 0.1, 1]]
    assert (rasterise(*mesh(small), 2, 2).face_index == -1).all()
    assert (rasterise(*mesh(small), 3, 3).face_index >= 0).sum() == 1


@pytest.mark.parametrize(
    "corners",
    [
        [[-1, -1, 1], [0, 0, 1], [1, 1, 1]],
        [[-1, -1, 1], [1, -1, 1], [0, 1, 0]],
        [[-1, -1, 1], [1, -1, -2], [0, 1, 1]],
        [[-1, -1, 1], [1, math.nan, 1], [0, 1, 1]],
        [[9, 9, 1], [10, 9, 1], [9, 10, 1]],
    ],
    ids=["edge-on", "at the camera", "behind the camera", "not a number", "outside"],
)
def test_faces_that_are_never_seen(corners):
    assert (rasterise(*mesh(corners), 8, 8).face_index == -1).all()


def test_mesh_without_faces_is_an_empty_picture():
    faces = torch.zeros(0, 3, dtype=torch.int64)
    assert render(torch.zeros(2, 0, 3), faces, 4, 6).tolist() == torch.zeros(2, 4, 6).tolist()


@pytest.mark.parametrize(("seed", "height", "width"), [(0, 33, 33), (1, 24, 40), (2, 41, 16), (3, 64, 64)])
@pytest.mark.parametrize("chunk", [1 << 20, 300])
def test_random_meshes_agree_exactly_with_the_slow_reference(monkeypatch, seed, height, width, chunk):
    monkeypatch.setattr(render_module, "_CANDIDATES_PER_CHUNK", chunk)
    vertices, faces = random_mesh(seed, 60)
    index, depth = slow_reference(vertices, faces, height, width)
    assert 0.3 < (index >= 0).mean() <= 1
    seen = rasterise(torch.from_numpy(vertices)[None], torch.from_numpy(faces), height, width)
    assert np.array_equal(seen.face_index[0].numpy(), index)
    covered = index >= 0
    assert np.array_equal(seen.depth[0].numpy()[covered], depth[covered])


def test_batch_equals_its_images_one_by_one():
    meshes = [random_mesh(seed, 40)[0] for seed in (5, 6, 7)]
    faces = torch.from_numpy(random_mesh(5, 40)[1])
    vertices = torch.from_numpy(np.stack(meshes))
    together = rasterise(vertices, faces, 20, 30)
    pictures = render(vertices, faces, 20, 30)
    for image in range(3):
        alone = rasterise(vertices[image : image + 1], faces, 20, 30)
        assert torch.equal(together.face_index[image], alone.face_index[0])
        assert torch.equal(together.barycentric[image], alone.barycentric[0])
        torch.testing.assert_close(pictures[image], render(vertices[image : image + 1], faces, 20, 30)[0])


def test_vertex_normals_weigh_faces_by_their_area():
    # Around vertex 0: a face in the xy plane of area 1/2 and one in the yz plane of area 1.
    vertices = torch.tensor([[[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2], [5, 5, 5]]])
    normals = vertex_normals(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]))
    torch.testing.assert_close(normals[0, 0], torch.tensor([2.0, 0, 1]) / math.sqrt(5))
    torch.testing.assert_close(normals[0, 1], torch.tensor([0.0, 0, 1]))
    assert normals[0, 4].tolist() == [0, 0, 0]


def test_shading_by_hand():
    normals = torch.tensor([[0.0, 0, 1], [0, 0, -1], [1, 0, 0], [0, -1, 0], [0, 0, 0.5], [0, 0, 0]])
    sideways = 180 / 255 * 1.7 * (2 / math.sqrt(3)) / 5
    expected = torch.tensor([FRONTAL, 0, sideways, sideways, FRONTAL / 2, 0])
    torch.testing.assert_close(shade(normals.view(1, 2, 3, 3)).flatten(), expected)


def test_frontal_surface_is_the_brightest():
    # Seen from the front in the world (y up, z towards the camera), then projected as SMIRK does.
    world = torch.tensor([[[-0.9, -0.9, 0.3], [0.9, -0.9, 0.3], [0, 0.9, 0.3]]])
    projected = world * torch.tensor([1.0, -1, -1]) + torch.tensor([0.0, 0, 10])
    faces = torch.tensor([[0, 1, 2]])
    picture = render(projected, faces, 32, 32, world=world)
    assert picture.max().item() == pytest.approx(0.794, abs=5e-4)
    assert picture.max().item() == pytest.approx(FRONTAL)
    assert (picture[0, 29] > 0).sum() > (picture[0, 2] > 0).sum(), "the base of the triangle is below"
    assert picture[0, 0].max() == 0
    torch.testing.assert_close(picture, render(projected, faces, 32, 32))


def test_shading_never_exceeds_the_frontal_value():
    normals = torch.nn.functional.normalize(torch.randn(1, 50, 50, 3, generator=torch.manual_seed(0)), dim=-1)
    assert shade(normals).max() <= FRONTAL + 1e-6
    assert shade(normals).min() >= 0


def test_interpolation_is_affine_and_carries_gradients():
    vertices, faces = mesh([[-1, -1, 2], [1, -1, 4], [-1, 1, 6]])
    seen = rasterise(vertices, faces, 4, 4)
    values = vertices[..., :2].clone().requires_grad_()
    picture = interpolate(values, faces, seen)
    torch.testing.assert_close(picture[0, 0, 1].detach(), torch.tensor([-0.25, -0.75]))
    picture[0, 0, 1].sum().backward()
    torch.testing.assert_close(values.grad[0, :, 0], torch.tensor([0.5, 0.375, 0.125]))
