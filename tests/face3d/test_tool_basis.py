import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from diffpc.face3d.light import load_light_data
from tools.face3d.align import nearest_rotation, similarity
from tools.face3d.basis import Basis, mirror_pairs, mirrored, mirrored_name, person_means, principal
from tools.face3d.fit import fit, model_vertices, reconstruct
from tools.face3d.labels import BLENDSHAPES, Labels, interocular, read_labels, read_persons, split
from tools.face3d.triangulate import IMAGE_LEFT_EYE, INNER_LIPS, OVAL, rim_edges, triangulate


@pytest.fixture(scope="module")
def basis() -> Basis:
    data = load_light_data()
    mean = data.mean.numpy()
    return Basis(
        mean,
        data.shape_basis.numpy(),
        data.expression_basis.numpy(),
        data.expression_names,
        mirror_pairs(mean),
        np.full(468, 1 / 468, np.float32),
    )


def labels_of(points: np.ndarray, person: list[str], blendshapes: np.ndarray | None = None) -> Labels:
    count = len(points)
    scores = np.zeros((count, len(BLENDSHAPES)), np.float32) if blendshapes is None else blendshapes
    names = np.array([f"{name}/{index}.jpg" for index, name in enumerate(person)])
    eye = np.tile(np.eye(3, dtype=np.float32), (count, 1, 1))
    return Labels(names, np.array(person), points.astype(np.float32), scores, eye)


def test_similarity_is_found_exactly(random):
    source = random.normal(size=(20, 3))
    rotation = Rotation.random(4, random_state=0).as_matrix()
    scale, shift = np.array([1.0, 2.0, 0.5, 3.0]), random.normal(size=(4, 3))
    target = scale[:, None, None] * (source @ rotation.transpose(0, 2, 1)) + shift[:, None]
    found = similarity(source, target, np.ones(20))
    assert np.allclose(found.rotation, rotation) and np.allclose(found.scale, scale)
    assert np.allclose(found.apply(source), target) and np.allclose(found.invert(target), source)


def test_weightless_points_do_not_count(random):
    source = random.normal(size=(20, 3))
    target = (source * 2)[None].copy()
    target[0, 0] += 5
    weight = np.ones(20)
    weight[0] = 0
    assert similarity(source, target, weight).scale[0] == pytest.approx(2)


def test_nearest_rotation_of_a_scaled_rotation():
    rotation = Rotation.from_euler("xyz", [10, 20, 30], degrees=True).as_matrix()
    assert np.allclose(nearest_rotation(3 * rotation), rotation)


def test_mirror_pairs_are_an_involution(basis):
    pairs = basis.mirror
    assert (pairs[pairs] == np.arange(468)).all()
    assert pairs[33] == 263 and pairs[61] == 291 and pairs[1] == 1
    assert np.allclose(mirrored(mirrored(basis.mean, pairs), pairs), basis.mean)


def test_names_swap_sides():
    assert mirrored_name("mouthSmileLeft") == "mouthSmileRight"
    assert mirrored_name("eyeBlinkRight") == "eyeBlinkLeft" and mirrored_name("jawOpen") == "jawOpen"


def test_person_means():
    means, which, count = person_means(np.array([[1.0], [3.0], [10.0]]), np.array(["a", "a", "b"]))
    assert means.ravel().tolist() == [2.0, 10.0] and which.tolist() == [0, 0, 1] and count.tolist() == [2, 1]


def test_principal_directions_are_symmetric_or_antisymmetric(basis):
    random = np.random.default_rng(0)
    samples = model_vertices(basis, random.normal(size=(200, 40)), np.zeros((200, 50))) - basis.mean
    for direction in principal(samples, 5, basis.mirror):
        flipped = mirrored(direction, basis.mirror)
        assert abs(abs((flipped * direction).sum() / (direction**2).sum()) - 1) < 1e-2


def test_the_shipped_expressions_are_symmetric(basis):
    left, right = (basis.names.index(f"mouthSmile{side}") for side in ("Left", "Right"))
    difference = mirrored(basis.expression[left], basis.mirror) - basis.expression[right]
    assert np.abs(difference).max() < 2e-3


def test_triangulation_has_exactly_the_wanted_rims(basis):
    vertices = basis.mean + 0.7 * basis.expression[basis.names.index("jawOpen")]
    triangles = triangulate(vertices, basis.mirror)

    def loop(rim):
        return {tuple(sorted(pair)) for pair in zip(rim, rim[1:] + rim[:1], strict=True)}

    other_eye = tuple(int(basis.mirror[index]) for index in IMAGE_LEFT_EYE)
    assert rim_edges(triangles) == loop(OVAL) | loop(INNER_LIPS) | loop(IMAGE_LEFT_EYE) | loop(other_eye)
    assert len(triangles) == 2 * 468 - 88 - 2 + 2 * 3  # Euler: V = 468, 88 rim edges, 3 holes
    assert {tuple(sorted(row)) for row in basis.mirror[triangles]} == {
        tuple(sorted(row)) for row in triangles
    }


def test_a_fit_recovers_its_own_points(basis, random):
    shape = random.normal(size=(3, 40))
    shape[1] = shape[0]
    expression = np.zeros((3, 50))
    expression[:, basis.names.index("jawOpen")] = [0.0, 0.4, 0.2]
    scores = np.zeros((3, len(BLENDSHAPES)), np.float32)
    scores[:, BLENDSHAPES.index("jawOpen")] = [0.0, 0.4, 0.2]
    rotation = Rotation.from_rotvec([[0, 0.3, 0], [0.1, 0, 0], [0, 0, -0.4]]).as_matrix()
    vertices = model_vertices(basis, shape, expression)
    points = 50 * vertices @ rotation.transpose(0, 2, 1) + np.array([120.0, -130.0, 0.0])
    labels = labels_of(points, ["a", "a", "b"], scores)
    found = fit(basis, labels)
    assert np.allclose(found.shape[0], found.shape[1])
    error = np.linalg.norm(reconstruct(basis, found) - labels.points, axis=-1).mean() / 50
    assert error < 0.003
    assert np.abs(found.expression[:, basis.names.index("jawOpen")] - [0.0, 0.4, 0.2]).max() < 0.05


def test_labels_are_read_in_the_models_axes(tmp_path):
    points = np.zeros((2, 478, 3), np.int16)
    points[:, 33], points[:, 263] = (160, 320, 16), (480, 320, -16)
    np.savez(
        tmp_path / "landmarks.npz",
        image=np.array(["A_B/A_B_0001.jpg", "C_D/C_D_0001.jpg"]),
        points=points,
        blendshapes=np.full((2, 52), 65535, np.uint16),
        pose=np.tile(np.eye(4, dtype=np.float32), (2, 1, 1)),
    )
    (tmp_path / "peopleDevTrain.txt").write_text("1\nC_D\t1\n")
    labels = read_labels(tmp_path / "landmarks.npz")
    assert labels.points[0, 33].tolist() == [10.0, -20.0, -1.0] and labels.points.shape == (2, 468, 3)
    assert labels.blendshapes.max() == 1.0 and interocular(labels.points).tolist() == [20.0, 20.0]
    assert read_persons(tmp_path / "peopleDevTrain.txt") == {"C_D"}
    assert split(labels, tmp_path, "Train").image.tolist() == ["C_D/C_D_0001.jpg"]
