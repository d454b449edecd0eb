import numpy as np
import pytest
import torch

from diffpc.face3d.light import load_light_model
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, posed, render_condition
from diffpc.face_pass import (
    Region,
    blended,
    cut_region,
    face_box,
    is_small,
    region_of,
    skipped_steps,
    soft_mask,
)
from diffpc.settings import Framing


@pytest.fixture(scope="module")
def model():
    return load_light_model()


def small_face(model):
    return posed(model, Angles(20.0, 0.0, 0.0), Placement(0.3, 0.4, 0.2), (200, 100))


def test_the_box_is_where_the_face_is_rendered(model):
    params = small_face(model)
    view, size = (0.0, 0.0, 200.0, 100.0), (400, 200)
    rendered = render_condition(params, model, 200, 400, view).numpy() > 0
    rows, columns = np.flatnonzero(rendered.any(axis=1)), np.flatnonzero(rendered.any(axis=0))
    seen = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    assert face_box(params, model, view, size) == pytest.approx(seen, abs=1)


def test_the_region_shows_the_same_face_at_the_wanted_size(model):
    """The region's own render is the canvas's render, enlarged."""
    params, view = small_face(model), (0.0, 0.0, 200.0, 100.0)
    box = face_box(params, model, view, (400, 200))
    for framing, share, x, y in (
        (Framing(), 0.5, 0.5, 0.5),
        (Framing((0.6, 0.7), (0.4, 0.45), (0.55, 0.6)), 0.6, 0.45, 0.55),
    ):
        region = region_of(box, view, (400, 200), framing)
        found = face_box(params, model, region.view, (128, 128)) / 128
        assert found[3] - found[1] == pytest.approx(share, abs=0.02)
        assert (found[:2] + found[2:]) / 2 == pytest.approx([x, y], abs=0.02)
        large = render_condition(params, model, region.side, region.side, region.view).numpy()
        canvas = render_condition(params, model, 200, 400, view).numpy()
        part = canvas[region.top : region.top + region.side, region.left : region.left + region.side]
        assert np.abs(large - part).max() < 1e-3


def test_what_is_small():
    box = np.array([0.0, 10.0, 20.0, 54.0])  # 44 pixels high
    assert is_small(box, (256, 256), 128)
    assert not is_small(box, (256, 256), 125)
    assert not is_small(box, (256, 120), 128)  # on a small canvas it is large


def test_some_steps_are_left_out():
    assert [skipped_steps(steps) for steps in (1, 2, 8, 30)] == [0, 1, 2, 9]


def test_the_mask_covers_the_face_and_ends_before_the_border(model):
    i_3d = render_condition(small_face(model), model, 100, 200).numpy()[:, 10:110]
    mask = soft_mask(i_3d)
    assert mask[i_3d > 0].min() > 0.99 and mask.max() <= 1 + 1e-6
    assert not mask[0].any() and not mask[-1].any() and not mask[:, 0].any() and not mask[:, -1].any()


def test_blending_changes_only_the_masked_pixels(random):
    image = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    region = Region(-5, 20, 30, (0.0, 0.0, 1.0, 1.0))  # reaches beyond left and bottom
    mask = np.zeros((30, 30), np.float32)
    mask[5:15, 10:20] = 1
    mask[2, 7] = 0.5
    face = np.full((30, 30, 3), 200, np.uint8)
    result = blended(image, face, mask, region)
    assert (result[25:35, 5:15] == 200).all()
    assert (result[22, 2] == np.rint(image[22, 2] + 0.5 * (200.0 - image[22, 2]))).all()
    result[25:35, 5:15], result[22, 2] = image[25:35, 5:15], image[22, 2]
    assert (result == image).all()


def test_a_region_is_cut_with_its_border_going_on(random):
    image = random.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    part = cut_region(image, Region(-5, 20, 30, (0.0, 0.0, 1.0, 1.0)), 30)
    assert (part[:20, 5:] == image[20:, :25]).all()
    assert (part[:20, :5] == image[20:, :1]).all() and (part[20:, 5:] == image[39, :25]).all()


def test_half_the_noise():
    """What `renoised` gives is the forward process at the first step that is left."""
    from diffusers import DDIMScheduler

    from diffpc.diffusion.sample import SampleSettings, renoised

    scheduler = DDIMScheduler(timestep_spacing="trailing")
    clean, noise = torch.full((1, 1, 2, 2), 2.0), torch.full((1, 1, 2, 2), 1.0)
    found = renoised(scheduler, clean, noise, SampleSettings(steps=4, skipped=2))
    share = scheduler.alphas_cumprod[499]  # trailing: 999, 749, 499, 249
    assert torch.allclose(found, share.sqrt() * 2 + (1 - share).sqrt())
