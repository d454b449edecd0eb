"""What a similarity means: thresholds from official pairs of photos, and how well they hold on others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import numpy as np
from jaxtyping import Bool, Float

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.metrics import cosine
from diffpc.files import asset
from diffpc.records import read_json, write_json
from diffpc.settings import from_dict

ASSET = "verification"
"""Folder of the shipped calibrations below `diffpc/assets`, one JSON file per embedder."""

FALSE_ACCEPTS = 0.01
"""Share of different persons that may pass for one."""


@dataclass(frozen=True)
class Pair:
    """Two photos, as paths below the folder of photos."""

    first: str
    second: str
    same: bool
    """Whether they are of one person."""


@dataclass(frozen=True)
class Calibration:
    """How one embedder's vectors are compared and from where on they are one person's."""

    embedder: str
    centre: tuple[float, ...]
    """What is taken off the vectors first; empty: nothing."""
    threshold: float
    """Centred cosine with 1 % false accepts on the pairs it was chosen on."""
    pairs: int
    """So many it was chosen on."""
    source: str
    """Which."""
    tested: Tested | None = None
    """How it does on pairs of other persons."""

    @property
    def offset(self) -> Float[np.ndarray, " D"] | None:
        """`centre` for `metrics`."""
        return np.array(self.centre) if self.centre else None


@dataclass(frozen=True)
class Tested:
    """An embedder on pairs that nothing was chosen on."""

    pairs: int
    accuracy: float
    """Mean of both kinds', at the threshold that is best on the pairs of the calibration."""
    accepts: float
    """Share of pairs of one person at or above the calibration's threshold."""
    false_accepts: float
    """Share of pairs of two persons there."""
    area: float
    """Under the curve of true over false accepts: 0.5 is chance."""
    source: str


def read_pairs(path: Path) -> list[Pair]:
    """An official list of Labeled Faces in the Wild: NAME, 1, 2 or NAME, 1, NAME, 2 a line.

    Raises:
        InputError: if it is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}); give an official list of pairs") from error
    rows = [line.split("\t") for line in lines[1:] if line.strip()]
    pairs = [_pair(row) for row in rows]
    if not pairs or None in pairs:
        raise InputError(
            f"{path}: is no list of pairs; give pairsDevTrain.txt, pairsDevTest.txt or pairs.txt"
        )
    return cast(list[Pair], pairs)


def calibrated(
    embedder: str,
    vectors: Mapping[str, Float[np.ndarray, " D"]],
    chosen: tuple[Sequence[Pair], str],
    tested: tuple[Sequence[Pair], str] | None,
    centred: bool,
) -> Calibration:
    """Choose the threshold, and test it.

    Args:
        embedder: its name.
        vectors: by photo; pairs with a photo that has none are left out.
        chosen: pairs to choose on, and what they are.
        tested: pairs of other persons, and what they are.
        centred: whether the mean of the first pairs' vectors is taken off.

    Raises:
        InputError: if there are not pairs of both kinds.
    """
    used = sorted({photo for pair in chosen[0] for photo in (pair.first, pair.second)} & vectors.keys())
    centre = np.mean([vectors[photo] for photo in used], axis=0) if centred and used else None
    similarity, same = similarities(chosen[0], vectors, centre)
    threshold = threshold_at(similarity, same, FALSE_ACCEPTS)
    found = None
    if tested:
        scores, truth = similarities(tested[0], vectors, centre)
        best = best_threshold(similarity, same)
        found = Tested(
            pairs=len(scores),
            accuracy=round(float(((scores[truth] >= best).mean() + (scores[~truth] < best).mean()) / 2), 4),
            accepts=round(float((scores[truth] >= threshold).mean()), 4),
            false_accepts=round(float((scores[~truth] >= threshold).mean()), 4),
            area=round(area(scores, truth), 4),
            source=tested[1],
        )
    rounded = () if centre is None else tuple(round(float(value), 6) for value in centre)
    return Calibration(embedder, rounded, round(threshold, 5), len(similarity), chosen[1], found)


def similarities(
    pairs: Sequence[Pair],
    vectors: Mapping[str, Float[np.ndarray, " D"]],
    centre: Float[np.ndarray, " D"] | None,
) -> tuple[Float[np.ndarray, " N"], Bool[np.ndarray, " N"]]:
    """Similarity and truth of the pairs whose photos have vectors.

    Raises:
        InputError: if there are not pairs of both kinds.
    """
    kept = [pair for pair in pairs if pair.first in vectors and pair.second in vectors]
    same = np.array([pair.same for pair in kept], bool)
    if not same.any() or same.all():
        raise InputError(
            f"{len(kept)} of {len(pairs)} pairs have two faces; pairs of one and of two persons are needed"
        )
    first, second = (np.stack([vectors[name(pair)] for pair in kept]) for name in (_first, _second))
    return cosine(first, second, centre), same


def threshold_at(similarity: Float[np.ndarray, " N"], same: Bool[np.ndarray, " N"], rate: float) -> float:
    """The least threshold at which no more than `rate` of the different pairs pass."""
    different = np.sort(similarity[~same])[::-1]
    passing = int(rate * len(different))
    return float(np.nextafter(different[passing], np.inf))


def best_threshold(similarity: Float[np.ndarray, " N"], same: Bool[np.ndarray, " N"]) -> float:
    """The similarity with the best mean of both kinds' accuracies, however many pairs there are of each."""
    order = np.argsort(similarity)
    weight = np.where(same, 1 / same.sum(), 1 / (~same).sum())[order]
    truth = same[order]
    # Threshold at the n-th smallest: the n below are called different, the others the same.
    below = np.concatenate([[0.0], np.cumsum(weight * ~truth)])[:-1]
    right = below + (weight * truth)[::-1].cumsum()[::-1]
    return float(similarity[order][right.argmax()])


def area(similarity: Float[np.ndarray, " N"], same: Bool[np.ndarray, " N"]) -> float:
    """The chance that a pair of one person is more alike than a pair of two (ties count half)."""
    one, two = similarity[same][:, None], similarity[~same][None]
    return float((one > two).mean() + (one == two).mean() / 2)


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Write it as JSON.

    Raises:
        InputError: if the file cannot be written.
    """
    write_json(path, asdict(calibration))


def load_calibration(embedder: str, path: Path | None = None) -> Calibration | None:
    """The calibration of an embedder: of that file, or the shipped one; None if there is none.

    Raises:
        InputError: if the file is broken, or another embedder's.
    """
    if path is None:
        path = asset(ASSET) / f"{embedder}.json"
        if not path.is_file():
            return None
    try:
        found = from_dict(Calibration, read_json(path, "make it with `diffpc evaluate calibrate`"), str(path))
    except UsageError as error:
        raise InputError(f"{error}; make it again with `diffpc evaluate calibrate`") from error
    if found.embedder != embedder:
        raise InputError(
            f"{path}: is the calibration of {found.embedder!r}, not of {embedder!r}; give the right file"
        )
    return found


def _pair(row: Sequence[str]) -> Pair | None:
    if len(row) == 3 and row[1].isdecimal() and row[2].isdecimal():
        return Pair(_photo(row[0], row[1]), _photo(row[0], row[2]), True)
    if len(row) == 4 and row[1].isdecimal() and row[3].isdecimal():
        return Pair(_photo(row[0], row[1]), _photo(row[2], row[3]), False)
    return None


def _photo(name: str, number: str) -> str:
    return f"{name}/{name}_{int(number):04d}.jpg"


def _first(pair: Pair) -> str:
    return pair.first


def _second(pair: Pair) -> str:
    return pair.second
