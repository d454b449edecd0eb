"""The gauge's training: what is the same in a photo and its mirror image, and small regressions."""

import numpy as np
import torch

from diffpc.evaluate.gauge import WideFeatures
from diffpc.faces.gradients import GradientSettings
from tools.judge.train_gauge import logistic, mirrored_order, ridge


def test_features_of_a_mirror_image_are_the_photos_in_another_order():
    settings = GradientSettings(size=24, orientations=12, cells=(4, 12))
    chips = torch.rand(2, 3, 24, 24, generator=torch.Generator().manual_seed(0)) * 2 - 1
    features, order = WideFeatures(settings), mirrored_order(settings)
    assert torch.allclose(features(chips.flip(-1)), features(chips)[:, order], atol=1e-5)
    assert sorted(order.tolist()) == list(range(features.dimension))


def test_regressions_find_what_made_the_labels():
    random = torch.Generator().manual_seed(0)
    scores = torch.randn(400, 3, generator=random)
    scores = scores - scores.mean(0)
    truth = torch.tensor([[1.0], [-2.0], [0.5]])
    weight, bias = ridge(scores, scores @ truth + 3, 1e-3)
    assert np.allclose(weight, truth, atol=1e-3) and np.allclose(bias, 3, atol=1e-3)
    labels = ((scores @ truth) > 1).float()
    weight, bias = logistic(scores, labels, 1.0)
    assert (((scores @ weight + bias) > 0).float() == labels).float().mean() > 0.95
