"""How far two sets of pictures are apart: the Fréchet and the kernel distance of their features, by torchmetrics."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from diffpc.backends import require
from diffpc.evaluate.stats import Figure, unavailable

SUBSETS = 100
"""Draws of the kernel distance."""

SUBSET = 100
"""Pictures in each draw, at most half of the smaller set."""


class Given(nn.Module):
    """Stands where torchmetrics expects a network: the features are there already."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.num_features = width

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B D"]:
        """Them."""
        return features


def frechet(real: Float[np.ndarray, "N D"], made: Float[np.ndarray, "M D"]) -> float:
    """|difference of means|^2 + trace of (both covariances - 2 times the root of their product).

    Raises:
        UsageError: if torchmetrics is not installed.
    """
    module = require("torchmetrics.image.fid", "evaluate")
    metric = module.FrechetInceptionDistance(feature=Given(real.shape[1]))
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(real).double(), real=True)
    metric.update(torch.from_numpy(made).double(), real=False)
    return float(metric.compute())


def kernel(
    real: Float[np.ndarray, "N D"], made: Float[np.ndarray, "M D"], seed: int = 0
) -> tuple[float, float]:
    """Mean and deviation over random subsets of the squared MMD with the cubic kernel (KID).

    Raises:
        UsageError: if torchmetrics is not installed.
    """
    module = require("torchmetrics.image.kid", "evaluate")
    size = max(2, min(SUBSET, min(len(real), len(made)) // 2))
    metric = module.KernelInceptionDistance(feature=Given(real.shape[1]), subsets=SUBSETS, subset_size=size)
    metric.update(torch.from_numpy(real).float(), real=True)
    metric.update(torch.from_numpy(made).float(), real=False)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        mean, deviation = metric.compute()
    return float(mean), float(deviation)


def distance_figures(
    name: str, real: Float[np.ndarray, "N D"], made: Float[np.ndarray, "M D"]
) -> list[Figure]:
    """Both distances of one kind of features, with the numbers of pictures, which decide much of the first.

    Args:
        name: FID and KID bear their names with Inception's features only; others say whose they are.
        real: features of photos.
        made: features of portraits; rows that are not numbers are left out.
    """
    titles = (
        ("FID", "KID x 1000") if name == "inception" else (f"Fréchet ({name})", f"kernel x 1000 ({name})")
    )
    real, made = (rows[~np.isnan(rows).any(axis=1)] for rows in (real, made))
    if min(len(real), len(made)) < 4:
        return [unavailable(title, "at least 4 pictures of each kind", "lower") for title in titles]
    note = f"{len(made)} portraits against {len(real)} photos; compare only at the same numbers"
    mean, deviation = kernel(real, made)
    low, high = 1000 * (mean - 2 * deviation), 1000 * (mean + 2 * deviation)
    return [
        Figure(titles[0], frechet(real, made), count=len(made), better="lower", note=note),
        Figure(
            titles[1],
            1000 * mean,
            low,
            high,
            len(made),
            better="lower",
            note=f"{note}; two deviations over subsets",
        ),
    ]
