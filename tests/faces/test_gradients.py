"""Oriented gradients on pictures whose edges are known."""

import numpy as np
import torch

from diffpc.faces.align import ARCFACE_112
from diffpc.faces.gradients import GradientSettings, OrientedGradients, with_mirror
from diffpc.faces.judge_embedder import judge_template

SETTINGS = GradientSettings(size=24, orientations=8, cells=(6, 12))


def ramp(dx, dy):
    rows, columns = torch.meshgrid(torch.arange(24.0), torch.arange(24.0), indexing="ij")
    return ((dx * columns + dy * rows) / 24).expand(1, 3, 24, 24) - 0.5


def histogram(chips):
    """Of the middle cells of the first size, (8,)."""
    found = OrientedGradients(SETTINGS)(chips)[0, : 16 * 8]
    return found.view(8, 4, 4)[:, 1:3, 1:3].mean(dim=(1, 2))


def test_sizes():
    chips = torch.zeros(2, 3, 24, 24)
    assert OrientedGradients(SETTINGS)(chips).shape == (2, SETTINGS.dimension)
    assert SETTINGS.dimension == (16 + 4) * 8


def test_the_bin_is_the_gradients_direction():
    assert histogram(ramp(1, 0)).argmax() == 0
    assert histogram(ramp(1, 1)).argmax() == 1
    assert histogram(ramp(0, 1)).argmax() == 2
    assert histogram(ramp(-1, 0)).argmax() == 4


def test_contrast_and_brightness_do_not_matter():
    random = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    features = OrientedGradients(SETTINGS)
    assert torch.allclose(features(random), features(0.4 * random + 0.2), atol=2e-2)


def test_a_chip_and_its_mirror_image_are_one():
    random = torch.rand(1, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    features = OrientedGradients(SETTINGS)
    assert torch.allclose(with_mirror(features, random), with_mirror(features, random.flip(-1)))


def test_the_template_is_arcfaces_at_another_size():
    template = judge_template(224)
    corners = ARCFACE_112.points["eyes_nose_mouth"]
    assert np.allclose(template.points["eyes_nose_mouth"], 2 * corners + 0.5)
