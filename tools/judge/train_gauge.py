"""Learn the gauge: pose, expression and looks of a face, from persons of peopleDevTrain, tested on peopleDevTest.

    python -m tools.judge.train_gauge --lfw DATA/lfw --folder runs/judge --output src/diffpc/assets/gauge

Features (`features.py`) -> principal directions -> ridge regression on the labels of landmarks.npz, logistic
regression on those of attributes.csv.
"""

import argparse
import csv
import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from diffpc.evaluate.gauge import GRID, GaugeSettings
from diffpc.face3d.pose import matrix_angles
from diffpc.faces.gradients import GradientSettings
from diffpc.weights import half, save_weights
from tools.face3d.labels import BLENDSHAPES, read_labels
from tools.judge.features import WIDE
from tools.judge.find_faces import persons

SOURCE = (
    "Labeled Faces in the Wild, persons of peopleDevTrain; labels by MediaPipe's face landmarker and a CelebA "
    "classifier"
)

EXPRESSIONS = {
    "jaw_open": ("jawOpen",),
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "blink": ("eyeBlinkLeft", "eyeBlinkRight"),
    "brows_up": ("browInnerUp", "browOuterUpLeft", "browOuterUpRight"),
    "pucker": ("mouthPucker",),
}
"""Output -> blendshapes whose mean it is."""

ATTRIBUTES = {
    "glasses": ("eyeglasses", 0.5, True),
    "beard": ("no_beard", 0.4, False),
    "hat": ("wearing_hat", 0.5, True),
    "smiling": ("smiling", 0.7, True),
    "blond": ("blond_hair", 0.4, True),
    "black_hair": ("black_hair", 0.2, True),
    "grey_hair": ("gray_hair", 0.6, True),
    "young": ("young", 0.8, True),
    "lipstick": ("wearing_lipstick", 0.5, True),
}
"""Output -> column of attributes.csv, threshold, and whether it lies above; the thresholds of the training captions."""


def labels_of_pose(lfw: Path, rows: list[str], tilt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 3) yaw, pitch and roll in the chip, (N, E) expressions; not a number where there is no label."""
    labels = read_labels(lfw / "landmarks.npz")
    place = {image: number for number, image in enumerate(labels.image.tolist())}
    pose, shown = np.full((len(rows), 3), np.nan), np.full((len(rows), len(EXPRESSIONS)), np.nan)
    columns = [[BLENDSHAPES.index(name) for name in names] for names in EXPRESSIONS.values()]
    for number, row in enumerate(rows):
        if row in place:
            angles = matrix_angles(torch.from_numpy(labels.rotation[place[row]]).double())
            pose[number] = angles.yaw, angles.pitch, angles.roll - tilt[number]
            shown[number] = [labels.blendshapes[place[row], each].mean() for each in columns]
    return pose, shown


def labels_of_looks(lfw: Path, rows: list[str]) -> np.ndarray:
    """(N, A) 0 or 1; not a number where there is no label."""
    with (lfw / "attributes.csv").open(newline="") as stream:
        known = {row["image"]: row for row in csv.DictReader(stream)}
    found = np.full((len(rows), len(ATTRIBUTES)), np.nan)
    for number, row in enumerate(rows):
        values = known.get(row.split("/")[1])
        if values:
            found[number] = [(float(values[c]) > t) == above for c, t, above in ATTRIBUTES.values()]
    return found


def mirrored_order(settings: GradientSettings) -> torch.Tensor:
    """Where each of `WideFeatures` of a mirror image stands among those of the photo."""
    turns = settings.orientations
    bins = (turns // 2 - torch.arange(turns)) % turns
    parts, start = [], 0
    for cell in settings.cells:
        side = settings.size // cell
        places = torch.arange(turns * side * side).view(turns, side, side)
        parts.append(start + places[bins].flip(-1).flatten())
        start += places.numel()
    colours = torch.arange(3 * GRID * GRID).view(3, GRID, GRID)
    return torch.cat([*parts, start + colours.flip(-1).flatten()])


def ridge(scores: torch.Tensor, wanted: torch.Tensor, strength: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Weights (P, E) and bias (E,) of whitened scores of mean 0."""
    bias = wanted.mean(0)
    gram = scores.T @ scores + strength * torch.eye(scores.shape[1])
    return torch.linalg.solve(gram, scores.T @ (wanted - bias)), bias


def logistic(
    scores: torch.Tensor, wanted: torch.Tensor, strength: float
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same for log odds; both classes weigh alike, so that 0.5 means as likely as not."""
    share = wanted.mean(0)
    weigh = wanted / (2 * share) + (1 - wanted) / (2 * (1 - share))
    weight = torch.zeros(scores.shape[1], wanted.shape[1], requires_grad=True)
    bias = torch.zeros(wanted.shape[1], requires_grad=True)
    optimiser = torch.optim.LBFGS([weight, bias], max_iter=60, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = functional.binary_cross_entropy_with_logits(scores @ weight + bias, wanted, weigh)
        total = loss + strength * weight.square().sum() / len(scores)
        total.backward()
        return total

    optimiser.step(closure)
    return weight.detach(), bias.detach()


def accuracies(found: np.ndarray, wanted: np.ndarray) -> tuple[tuple[str, float], ...]:
    """See `GaugeSettings.accuracy`."""
    names = ["yaw", "pitch", "roll", *EXPRESSIONS, *ATTRIBUTES]
    result = []
    for column, name in enumerate(names):
        one, two = found[:, column], wanted[:, column]
        one, two = one[~np.isnan(two)], two[~np.isnan(two)]
        if column < 3:
            value = np.abs(one - two).mean()
        elif column < 3 + len(EXPRESSIONS):
            value = np.corrcoef(one, two)[0, 1]
        else:
            value = ((one[two == 1] > 0).mean() + (one[two == 0] <= 0).mean()) / 2
        result.append((name, round(float(value), 4)))
    return tuple(result)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/judge"))
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--principal", type=int, default=400)
    parser.add_argument("--ridge", type=float, default=100.0)
    parser.add_argument("--decay", type=float, default=10.0)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = json.loads((options.folder / "rows.json").read_text())
    values = torch.from_numpy(np.load(options.folder / "wide.npy")).float()
    pose, shown = labels_of_pose(options.lfw, rows, np.load(options.folder / "tilt.npy"))
    wanted = np.concatenate([pose, shown, labels_of_looks(options.lfw, rows)], axis=1)
    train = set(persons(options.lfw, "peopleDevTrain"))
    known = np.array([row.split("/")[0] in train for row in rows])
    whole = ~np.isnan(wanted).any(axis=1)
    learnt, target = values[known & whole], torch.from_numpy(wanted[known & whole]).float()
    mean = learnt.mean(0)
    torch.manual_seed(0)
    _, scale, axes = torch.svd_lowrank(learnt - mean, options.principal + 40, niter=3)
    axes = (axes / scale * len(learnt) ** 0.5)[:, : options.principal]
    scores = (learnt - mean) @ axes
    measured = 3 + len(EXPRESSIONS)
    first, second = (
        ridge(scores, target[:, :measured], options.ridge),
        logistic(scores, target[:, measured:], options.decay),
    )
    weight = axes @ torch.cat([first[0], second[0]], dim=1)
    bias = torch.cat([first[1], second[1]]) - mean @ weight
    # What a photo and its mirror image say, averaged: their features are one another's in another order.
    sign = torch.ones(weight.shape[1])
    sign[[0, 2]] = -1  # yaw and roll
    weight = (weight + weight[mirrored_order(WIDE)] * sign) / 2
    bias = (bias + bias * sign) / 2
    found = (values[~known] @ weight + bias).numpy()
    accuracy = accuracies(found, wanted[~known])
    settings = GaugeSettings(WIDE, tuple(EXPRESSIONS), tuple(ATTRIBUTES), accuracy, SOURCE)
    save_weights(options.output, half({"weight": weight, "bias": bias}), asdict(settings))
    print("\n".join(f"{name} {value}" for name, value in accuracy))


if __name__ == "__main__":
    main()
