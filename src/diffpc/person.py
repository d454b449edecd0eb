"""Photos of a person -> who it is, how good each photo is, and which photos show somebody else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.face3d.skin import peel
from diffpc.faces.align import align
from diffpc.faces.embed import FaceEmbedder, cosine_similarity, embed_faces, load_embedder
from diffpc.faces.quality import face_measures, face_quality, quality_features
from diffpc.identity.reference import averaged
from diffpc.portrait import Identity
from diffpc.types import Face, Image

JUDGE = "dlib"
"""The embedder that `faces.quality` was fitted on; it ships with the package and judges for every model."""

OUTLIER = "looks like another person"
"""Why a photo is left out that has a face."""


@dataclass(frozen=True)
class PhotoReport:
    """One photo of a person."""

    name: str
    """Of its file, without folders."""
    quality: float | None
    """0 to 1, 0.5 is the border; None: no face could be chosen in it."""
    distance: float | None
    """Median distance to the other photos, in thresholds of the embedder: above 1 the others are another person.
    None for a lone photo."""
    fault: str | None = None
    """Why it was left out; None: it was used."""


@dataclass(frozen=True)
class Person:
    """Who, and from which photos that is known."""

    identity: Identity
    photos: tuple[PhotoReport, ...]
    """All that were given, in their order."""


@dataclass(frozen=True)
class _Sitting:
    """A photo with its face."""

    image: Image
    face: Face


def described(photos: Sequence[Image], faces: Sequence[Face], eyes: Eyes) -> Identity:
    """The identity that these faces, one per photo, share; pose, expression and skin are the first photo's.

    Raises:
        UsageError: if there is no photo.
    """
    if not photos:
        raise UsageError("no reference photo; give at least one")
    features = [eyes.features(photo, face) for photo, face in zip(photos, faces, strict=True)]
    params = eyes.params(photos[0], faces[0])
    return Identity(averaged(features), params, peel(photos[0], params, eyes.model))


def gathered(
    photos: Sequence[Image],
    names: Sequence[str],
    eyes: Eyes,
    face: int | None = None,
    keep_outliers: bool = False,
) -> Person:
    """The person of many photos; those without a face to choose and those of somebody else are left out.

    A photo is somebody else's if more than half of the other photos are farther from it than the embedder's own
    threshold of same and different. If that would be half of the photos or more, nobody knows who is meant.

    Args:
        photos: upright RGB.
        names: of the photos, for the report.
        eyes: of the model.
        face: which face of each photo counts, 0 the largest; None if one stands out.
        keep_outliers: use the photos of somebody else all the same.

    Raises:
        UsageError: if there is no photo.
        InputError: if no photo is left, or half of them or more look like another person.
    """
    if not photos:
        raise UsageError("no photo; give at least one")
    sittings, faults = _sittings(photos, names, eyes, face)
    if not sittings:
        raise InputError(faults[0])
    distances = _median_distances(eyes.tools.embedder, list(sittings.values()))
    outliers = {at for at, value in zip(sittings, distances, strict=True) if value is not None and value > 1}
    if not keep_outliers and 2 * len(outliers) >= len(sittings):
        listed = ", ".join(names[at] for at in sorted(outliers))
        raise InputError(
            f"{listed}: look like different persons; give photos of one person, or pass --keep-outliers"
        )
    used = [one for at, one in sittings.items() if keep_outliers or at not in outliers]
    reports = {at: PhotoReport(names[at], None, None, fault) for at, fault in faults.items()}
    qualities = _qualities(list(sittings.values()))
    for at, quality, distance in zip(sittings, qualities, distances, strict=True):
        fault = OUTLIER if at in outliers and not keep_outliers else None
        reports[at] = PhotoReport(names[at], round(quality, 3), distance and round(distance, 3), fault)
    identity = described([one.image for one in used], [one.face for one in used], eyes)
    return Person(identity, tuple(reports[at] for at in sorted(reports)))


def _sittings(
    photos: Sequence[Image], names: Sequence[str], eyes: Eyes, face: int | None
) -> tuple[dict[int, _Sitting], dict[int, str]]:
    """The photos with a face by their number, and what is wrong with the others."""
    sittings: dict[int, _Sitting] = {}
    faults: dict[int, str] = {}
    for at, (photo, name) in enumerate(zip(photos, names, strict=True)):
        try:
            sittings[at] = _Sitting(photo, eyes.face(photo, face, name))
        except (InputError, UsageError) as error:  # UsageError: it has fewer faces than --face asks for
            faults[at] = str(error)
    return sittings, faults


def _median_distances(embedder: FaceEmbedder, sittings: Sequence[_Sitting]) -> list[float | None]:
    """Of each photo to the others, in thresholds: above 1 they are different persons."""
    if len(sittings) == 1:
        return [None]
    vectors = torch.cat([embed_faces(embedder, one.image, [one.face]) for one in sittings]).double()
    apart = _distances(vectors, embedder)
    others = ~torch.eye(len(sittings), dtype=torch.bool)
    return [float(row[mask].quantile(0.5)) for row, mask in zip(apart.cpu(), others, strict=True)]


def _distances(vectors: Float[Tensor, "N D"], embedder: FaceEmbedder) -> Float[Tensor, "N N"]:
    metric = embedder.metric
    if metric.kind == "cosine":
        return (1 - cosine_similarity(vectors[:, None], vectors[None])) / (1 - metric.threshold)
    return torch.cdist(vectors, vectors, compute_mode="donot_use_mm_for_euclid_dist") / metric.threshold


def _qualities(sittings: Sequence[_Sitting]) -> list[float]:
    judge = load_embedder(JUDGE)
    return [_quality(one, judge) for one in sittings]


def _quality(sitting: _Sitting, judge: FaceEmbedder) -> float:
    chip = align(sitting.image, sitting.face, judge.template).pixels
    norm = float(embed_faces(judge, sitting.image, [sitting.face])[0].norm())
    return face_quality(quality_features(face_measures(chip, sitting.face), norm))
