from dataclasses import replace

import numpy as np
import pytest
import torch

from diffpc.face3d.light import load_light_model
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, photo_points, posed, render_condition
from diffpc.face3d.skin import BAND, MARGIN, TURNED, UNKNOWN, _borders, _closed, dressed, peel
from tests.face3d.test_model import small_flame

SIZE = 160


@pytest.fixture(scope="module")
def model():
    return load_light_model()


@pytest.fixture(scope="module")
def photo():
    """Colours that tell the place: red grows to the right, green downwards."""
    ramp = np.linspace(0, 255, SIZE)
    across, down = np.meshgrid(ramp, ramp)
    return np.stack([across, down, np.full_like(across, 50)], axis=-1).round().astype(np.uint8)


def face(model, yaw=0.0, place=None):
    return posed(model, Angles(yaw=yaw), place, (SIZE, SIZE))


def known(picture):
    return (picture - UNKNOWN).abs().amax(-1) > 1e-3


def test_a_face_on_its_own_place_has_the_photos_pixels(model, photo):
    picture = dressed(peel(photo, face(model), model), face(model), model, SIZE, SIZE)
    seen = render_condition(face(model), model, SIZE, SIZE) > 0.5  # not the flat rims
    error = (picture - torch.from_numpy(photo) / 255).abs().amax(-1)[seen]
    assert seen.sum() > 3000 and error.mean() < 0.005
    assert error.quantile(0.99) < 0.03


def test_the_skin_moves_with_the_face(model, photo):
    skin = peel(photo, face(model), model)
    moved = face(model, place=Placement(x=0.5 + 10 / SIZE, y=0.45 - 5 / SIZE))
    here, there = (dressed(skin, one, model, SIZE, SIZE) for one in (face(model), moved))
    assert torch.allclose(there[:-5, 10:], here[5:, :-10], atol=2e-3)


def test_a_view_shows_a_part_at_its_own_scale(model, photo):
    skin = peel(photo, face(model), model)
    whole = dressed(skin, face(model), model, 2 * SIZE, 2 * SIZE)
    part = dressed(skin, face(model), model, SIZE, SIZE, (40.0, 30.0, 80.0, 80.0))
    assert torch.allclose(part, whole[60:220, 80:240], atol=2e-3)


def test_what_the_reference_hides_is_gray(model, photo):
    skin = peel(photo, face(model, yaw=70.0), model)
    picture = dressed(skin, face(model), model, SIZE, SIZE)
    middle = SIZE // 2
    left, right = known(picture)[:, :middle].sum(), known(picture)[:, middle:].sum()
    assert max(left, right) > 2000 and max(left, right) > 1.8 * min(left, right)
    assert float(skin.facing.min()) < 0 < float(skin.facing.max()) <= 1
    corner = picture[:20, :20]
    assert torch.equal(corner, torch.full_like(corner, UNKNOWN))


def test_a_band_carries_what_is_around_the_face(model, photo):
    picture = dressed(peel(photo, face(model), model), face(model), model, SIZE, SIZE)
    face_alone = render_condition(face(model), model, SIZE, SIZE) > 0
    rows, columns = face_alone.nonzero(as_tuple=True)
    above, beside = int(rows.min()) - 12, int(columns.max()) + 10
    middle_row, middle_column = int(rows.float().mean()), int(columns.float().mean())
    for row, column in ((above, middle_column), (middle_row, beside)):
        wanted = torch.from_numpy(photo[row, column]) / 255
        # Its outer rim is half as sure: the colour fades to gray.
        telling = (wanted - UNKNOWN).abs() > 0.1
        share = ((picture[row, column] - UNKNOWN) / (wanted - UNKNOWN))[telling]
        assert len(share) > 1 and share.min() > 0.4 and share.max() < 1.1
    left = int(columns.min() - 0.5 * (columns.max() - columns.min()))
    assert left > 5 and not known(picture)[:, :left].any()


def test_the_band_beside_a_hidden_cheek_is_hidden_too(model, photo):
    picture = dressed(peel(photo, face(model, yaw=60.0), model), face(model), model, SIZE, SIZE)
    covered = known(picture).float()
    left, right = covered[:, : SIZE // 2].mean(), covered[:, SIZE // 2 :].mean()
    assert max(left, right) > 2 * min(left, right)


def test_beyond_the_photo_nothing_is_known(model, photo):
    cut_off = photo[:, : SIZE // 2]  # half of the face
    params = replace(face(model), frame=(SIZE // 2, SIZE))
    skin = peel(cut_off, params, model)
    assert (skin.picture == 128).all(axis=2).mean() > 0.3
    assert np.abs(skin.picture[:, -40:].astype(int) - 128).max() <= 1


def test_lids_and_lips_are_closed(model):
    surface = _closed(tuple(map(tuple, model.triangles.tolist())))
    assert sorted(map(len, surface.holes)) == [16, 16, 20] and len(surface.rim) == 36
    outlines = _borders(tuple(map(tuple, surface.triangles.tolist())))
    assert sorted(map(len, outlines)) == [36, 36, 36]  # the face's own, and both of the band
    closed, count = surface.extended(model.mean[None])[0], len(model.mean)
    assert torch.allclose(closed[count + 2], model.mean[list(surface.holes[-1])].mean(0), atol=1e-6)
    middle, rim = model.mean.mean(0), model.mean[list(surface.rim)]
    assert torch.equal(closed[count + 3 : count + 39], rim)
    assert torch.allclose(closed[count + 39 :], middle + BAND * (rim - middle), atol=1e-6)
    facing = surface.facing(torch.arange(count).float()[None], torch.tensor([0.0, 0.0, 0.5]))[0]
    assert torch.allclose(facing[count + 3 : count + 39], torch.tensor(surface.rim) + TURNED[0])
    means = torch.tensor([sum(hole) / len(hole) for hole in surface.holes])
    assert torch.allclose(facing[count : count + 3], means - torch.tensor([0.0, 0.0, 1.0]))


def test_a_mouth_that_opens_shows_what_the_reference_does_not(model):
    def said(opening):
        params = model.expressed({"jawOpen": opening})
        return replace(params, camera=face(model).camera, crop=face(model).crop, frame=(SIZE, SIZE))

    def holes(before, after):
        """How much of the mouth is filled with the white that the whole photo is of."""
        skin = peel(np.full((SIZE, SIZE, 3), 255, np.uint8), said(before), model)
        picture = dressed(skin, said(after), model, SIZE, SIZE)
        mesh = render_condition(said(after), model, SIZE, SIZE).squeeze() > 0
        rows, columns = mesh.nonzero(as_tuple=True)
        inside = torch.zeros_like(mesh)
        middle = (rows.float().mean().int(), columns.float().mean().int())
        inside[middle[0] + 8 : middle[0] + 32, middle[1] - 25 : middle[1] + 25] = True
        empty = inside & ~mesh
        assert empty.sum() > (100 if after else 3)
        return float(known(picture)[empty].float().mean())

    assert holes(0.0, 0.0) > 0.95 and holes(0.8, 0.8) > 0.95 and holes(0.8, 0.0) > 0.95
    assert holes(0.0, 0.8) < 0.6
    surface = _closed(tuple(map(tuple, model.triangles.tolist())))
    shut, wide = (model.vertices(said(opening)).projected[0, :, :2] for opening in (0.0, 0.8))
    assert surface.opened(shut, wide).tolist() == [0, 0, 1]
    assert surface.opened(wide, shut).tolist() == [0, 0, 0]


def test_a_mesh_without_holes_stays_as_it_is():
    triangles = ((0, 1, 2), (0, 2, 3))
    assert _closed(triangles).holes == () and not len(_closed(triangles).opened(*torch.rand(2, 4, 2)))
    assert _closed(triangles).triangles.tolist()[:2] == [[0, 1, 2], [0, 2, 3]]
    assert len(_closed(triangles).triangles) == 2 + 2 * 4
    tetrahedron = ((0, 1, 2), (0, 2, 3), (0, 3, 1), (1, 3, 2))
    assert _closed(tetrahedron).holes == () and _closed(tetrahedron).rim == ()
    assert _closed(tetrahedron).triangles.tolist() == [list(corners) for corners in tetrahedron]


def test_the_picture_is_the_face_and_what_is_around_it(model, photo):
    skin = peel(photo, face(model), model, side=64)
    assert skin.picture.shape == (64, 64, 3)
    low, high = skin.points.amin(0), skin.points.amax(0)
    assert float((high - low).max()) == pytest.approx(63 / MARGIN, abs=1e-3)
    assert ((low + high) / 2).tolist() == pytest.approx([31.5, 31.5], abs=1e-3)
    corner = photo_points(face(model), model).min(axis=0)
    assert float(photo[round(corner[1]), round(corner[0])][0]) == pytest.approx(
        float(skin.picture[round(float(low[1])), round(float(low[0]))][0]), abs=6
    )


def test_flame_has_skin_too(photo):
    model = small_flame()
    params = replace(model.expressed({}), frame=(SIZE, SIZE))
    skin = peel(photo, params, model, side=32)
    assert skin.picture.shape == (32, 32, 3) and skin.points.isfinite().all()
