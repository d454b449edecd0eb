"""Learn the judge, a face embedder of its own: persons of peopleDevTrain, tested on pairs of peopleDevTest.

    python -m tools.judge.train_judge --lfw DATA/lfw --folder runs/judge --output src/diffpc/assets/judge

Closed form, a minute: features (`features.py`) -> principal directions -> within-person covariance of persons with two
or more photos, whitened -> the directions that differ most between persons.
"""

import argparse
import json
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from diffpc.evaluate.verification import Pair, calibrated, read_pairs, save_calibration
from diffpc.faces.judge_embedder import JudgeSettings
from diffpc.weights import half, save_weights
from tools.judge.features import NARROW
from tools.judge.find_faces import persons

SOURCE = "Labeled Faces in the Wild, persons of peopleDevTrain, at most 12 photos a person"

PRINCIPAL, DIMENSION, SHRINK = 300, 128, 0.1
"""Principal directions kept, length of the vectors, and how much of the within-person covariance is made round."""

HELD_OUT = 5
"""One training person in so many is left out of the fit that the threshold is chosen with."""


def fit(
    values: torch.Tensor, owners: np.ndarray, principal: int, dimension: int, shrink: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """(N, D) features -> mean (D,), matrix (D, dimension)."""
    mean = values.mean(0)
    torch.manual_seed(0)
    _, scale, axes = torch.svd_lowrank(values - mean, principal + 40, niter=3)
    axes, spread = axes[:, :principal], scale[:principal] / len(values) ** 0.5
    # Principal values differ a thousandfold; a root keeps the noise of the last ones small.
    scores = (values - mean) @ axes / spread.sqrt()
    groups = defaultdict(list)
    for row, owner in enumerate(owners):
        groups[owner].append(row)
    several = [rows for rows in groups.values() if len(rows) > 1]
    within = torch.cat([scores[rows] - scores[rows].mean(0) for rows in several])
    covariance = within.T @ within / (len(within) - len(several))
    covariance = (1 - shrink) * covariance + shrink * covariance.trace() / principal * torch.eye(principal)
    whiten = torch.linalg.inv(torch.linalg.cholesky(covariance)).T
    centres = torch.stack([scores[rows].mean(0) for rows in groups.values()]) @ whiten
    _, _, turn = torch.linalg.svd(centres - centres.mean(0), full_matrices=False)
    return mean, axes / spread.sqrt() @ whiten @ turn[:dimension].T


def held_out_pairs(owners: np.ndarray, rows: list[str], seed: int = 0) -> list[Pair]:
    """All pairs of one person among these photos, and as many thousands of two as there are photos in tenths."""
    random = np.random.default_rng(seed)
    same = [
        Pair(rows[one], rows[other], True)
        for one in range(len(rows))
        for other in range(one + 1, len(rows))
        if owners[one] == owners[other]
    ]
    drawn = random.integers(len(rows), size=(20_000, 2)).tolist()
    return same + [
        Pair(rows[one], rows[other], False) for one, other in drawn if owners[one] != owners[other]
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/judge"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--principal", type=int, default=PRINCIPAL)
    parser.add_argument("--dimension", type=int, default=DIMENSION)
    parser.add_argument("--shrink", type=float, default=SHRINK)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sizes = (options.principal, options.dimension, options.shrink)
    rows = np.array(json.loads((options.folder / "rows.json").read_text()))
    values = torch.from_numpy(np.load(options.folder / "narrow.npy")).float()
    owners = np.array([row.split("/")[0] for row in rows])
    train = sorted(persons(options.lfw, "peopleDevTrain"))
    learnt = np.isin(owners, train)
    # A threshold chosen on persons that the fit knows would be too low for others.
    aside = np.isin(owners, train[::HELD_OUT])
    mean, matrix = fit(values[learnt & ~aside], owners[learnt & ~aside], *sizes)
    vectors = {
        str(row): one for row, one in zip(rows[aside], ((values[aside] - mean) @ matrix).numpy(), strict=True)
    }
    chosen = held_out_pairs(owners[aside], rows[aside].tolist())
    mean, matrix = fit(values[learnt], owners[learnt], *sizes)
    fresh = ((values[~learnt] - mean) @ matrix).numpy()
    vectors |= {str(row): one for row, one in zip(rows[~learnt], fresh, strict=True)}
    tested = read_pairs(options.lfw / "pairsDevTest.txt")
    found = calibrated(
        "judge",
        vectors,
        (chosen, f"pairs of {len(train[::HELD_OUT])} persons of peopleDevTrain, by a fit without them"),
        (tested, "pairsDevTest"),
        centred=False,
    )
    settings = JudgeSettings(NARROW, options.dimension, found.threshold, SOURCE)
    save_weights(options.output, half({"mean": mean, "matrix": matrix}), asdict(settings))
    save_calibration(options.output.with_name("verification") / "judge.json", found)
    print(found.tested)


if __name__ == "__main__":
    main()
