from dataclasses import replace

import numpy as np
import pytest
import torch

from diffpc.face3d.light import load_light_model
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, photo_points, posed, render_condition
from diffpc.face3d.skin import MARGIN, UNKNOWN, Skin, _borders, _closed, dressed, peel
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
    assert right > 2000 > 4 * left or left > 2000 > 4 * right
    assert float(skin.facing.min()) < 0 < float(skin.facing.max()) <= 1
    outside = render_condition(face(model), model, SIZE, SIZE) == 0
    border = torch.ones(SIZE, SIZE, dtype=torch.bool)
    border[20:-20, 20:-20] = False
    assert torch.equal(picture[outside & border], torch.full_like(picture[outside & border], UNKNOWN))


def test_lids_and_lips_are_closed(model):
    surface = _closed(tuple(map(tuple, model.triangles.tolist())))
    assert sorted(map(len, surface.holes)) == [16, 16, 20]
    (outline,) = _borders(tuple(map(tuple, surface.triangles.tolist())))
    assert len(outline) == 36
    closed = surface.extended(model.mean[None])
    assert torch.allclose(closed[0, -1], model.mean[list(surface.holes[-1])].mean(0), atol=1e-6)
    mouth = replace(model.expressed({"jawOpen": 1.0}), camera=face(model).camera, crop=face(model).crop)
    mouth = replace(mouth, frame=(SIZE, SIZE))
    white = Skin(
        np.full((8, 8, 3), 255, np.uint8), torch.full((len(model.mean), 2), 3.5), torch.ones(len(model.mean))
    )
    shown = known(dressed(white, mouth, model, SIZE, SIZE))
    assert shown.sum() > (render_condition(mouth, model, SIZE, SIZE) > 0).sum() + 20


def test_a_mesh_without_holes_stays_as_it_is():
    triangles = ((0, 1, 2), (0, 2, 3))
    assert _closed(triangles).holes == ()
    assert _closed(triangles).triangles.tolist() == [[0, 1, 2], [0, 2, 3]]
    tetrahedron = ((0, 1, 2), (0, 2, 3), (0, 3, 1), (1, 3, 2))
    assert _closed(tetrahedron).holes == ()


def test_the_picture_is_the_face_and_little_more(model, photo):
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
