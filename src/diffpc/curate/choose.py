"""What only all photos together can tell: copies, wrong persons, too few photos. No pixel is read here.

The order: copies of one person's photos first, so that five copies make no person; then whose photos they are;
then copies among persons, of which the one that is more like its person stays; then the number of photos, which
all of this has lowered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float, UInt64

from diffpc.curate.alike import kept_of, near_pairs
from diffpc.curate.identity import COPY_SIMILARITY, THRESHOLDS, similarities, similarity
from diffpc.curate.parts import read_columns
from diffpc.curate.settings import PersonSettings
from diffpc.errors import InputError, UsageError

COLUMNS = ("source_key", "person", "url", "sha256", "quality", "fingerprint", "embedding", "reason")


@dataclass(frozen=True)
class Candidates:
    """All photos that passed the stages, as columns; their order is that of the parts."""

    keys: Sequence[str]
    persons: Sequence[str]
    urls: Sequence[str]
    digests: Sequence[str]
    """sha256 of the files."""
    quality: Float[np.ndarray, " N"]
    fingerprints: UInt64[np.ndarray, " N"]
    embeddings: Float[np.ndarray, "N D"]
    places: Sequence[tuple[int, int]]
    """Part and row in it."""


@dataclass(frozen=True)
class LeftOut:
    """A photo that passed alone, but not among the others."""

    row: int
    reason: str
    detail: str


@dataclass(frozen=True)
class Choice:
    """The photos of the set."""

    rows: Sequence[int]
    """Sorted by person and key."""
    similarity: Float[np.ndarray, " N"]
    """To the person's centre, by candidate; not a number where a photo fell before."""
    left_out: Sequence[LeftOut]


def read_candidates(files: Sequence[Path]) -> Candidates:
    """The numbers of all photos that parts have kept.

    Raises:
        InputError: if a part is missing or damaged.
    """
    tables: list[pa.Table] = []
    places: list[tuple[int, int]] = []
    for number, file in enumerate(files):
        table = read_columns(file, COLUMNS)
        rows = np.flatnonzero(table["reason"].is_null().to_numpy())
        tables.append(table.take(pa.array(rows)))
        places += [(number, int(row)) for row in rows]
    table = pa.concat_tables(tables)
    vectors = table["embedding"].combine_chunks()
    return Candidates(
        *(table[name].to_pylist() for name in ("source_key", "person", "url", "sha256")),
        quality=table["quality"].to_numpy().astype(np.float64),
        fingerprints=table["fingerprint"].to_numpy().astype(np.uint64),
        embeddings=vectors.flatten().to_numpy().reshape(len(table), -1),
        places=places,
    )


def threshold_for(embedder: str, settings: PersonSettings) -> float:
    """The least similarity.

    Raises:
        UsageError: if none is given and none is known of the embedder.
    """
    if settings.similarity is not None:
        return settings.similarity
    if embedder not in THRESHOLDS:
        raise UsageError(f"no threshold is known of the embedder {embedder!r}; pass --persons.similarity")
    return THRESHOLDS[embedder]


def choose(candidates: Candidates, kind: str, threshold: float, settings: PersonSettings) -> Choice:
    """Leave out what does not belong; the same candidates, the same choice.

    Args:
        candidates: of `read_candidates`.
        kind: of the embedder's metric.
        threshold: of `threshold_for`.
        settings: the rest.
    """
    pairs = _copies(candidates, kind, settings.copies)
    alive = np.ones(len(candidates.keys), bool)
    left_out: list[LeftOut] = []

    def drop(found: Iterable[LeftOut]) -> None:
        for one in found:
            alive[one.row] = False
            left_out.append(one)

    drop(_unwanted(candidates, settings.only))
    quality = [(-value, key) for value, key in zip(candidates.quality, candidates.keys, strict=True)]
    pairs = [pair for pair in pairs if alive[pair[0]] and alive[pair[1]]]
    within = [pair for pair in pairs if candidates.persons[pair[0]] == candidates.persons[pair[1]]]
    drop(_dropped_copies(candidates, within, quality))
    likeness = _likeness(candidates, alive, kind, settings.seed)
    drop(
        LeftOut(
            row,
            "other_person",
            f"similarity {likeness[row]:.2f} to the person's centre, not above {threshold:g}",
        )
        for row in np.flatnonzero(alive & ~(likeness > threshold)).tolist()
    )
    across = [pair for pair in pairs if alive[pair[0]] and alive[pair[1]]]
    drop(
        _dropped_copies(
            candidates, across, [(-value, *rank) for value, rank in zip(likeness, quality, strict=True)]
        )
    )
    drop(_numbers(candidates, alive, quality, settings))
    rows = sorted(
        np.flatnonzero(alive).tolist(), key=lambda row: (candidates.persons[row], candidates.keys[row])
    )
    return Choice(rows, likeness, sorted(left_out, key=lambda one: one.row))


def _unwanted(candidates: Candidates, only: str) -> list[LeftOut]:
    if not only:
        return []
    try:
        names = {line.split("\t")[0].strip() for line in Path(only).read_text(encoding="utf-8").splitlines()}
    except (OSError, ValueError) as error:
        raise InputError(
            f"{only}: cannot be read ({error}); give a text file with a person a line"
        ) from error
    detail = f"{Path(only).name} does not name the person"
    return [
        LeftOut(row, "not_wanted", detail)
        for row, person in enumerate(candidates.persons)
        if person not in names
    ]


def _copies(candidates: Candidates, kind: str, bits: int) -> list[tuple[int, int]]:
    """Pairs of copies: the same file, or a close hash and nearly the same face vector."""
    first: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(candidates.digests):
        first[digest].append(row)
    pairs = [(rows[0], row) for rows in first.values() for row in rows[1:]]
    if bits < 0:
        return pairs
    near = np.array(sorted(near_pairs(candidates.fingerprints, bits)), int).reshape(-1, 2)
    one, other = (candidates.embeddings[near[:, side]] for side in (0, 1))
    close = similarity(one, other, kind) >= COPY_SIMILARITY[kind]
    return sorted({*pairs, *map(tuple, near[close].tolist())})


def _dropped_copies(
    candidates: Candidates, pairs: Sequence[tuple[int, int]], ranks: Sequence[tuple[Any, ...]]
) -> list[LeftOut]:
    copies = kept_of(len(ranks), pairs, ranks.__getitem__)
    return [
        LeftOut(
            row,
            "copy" if candidates.digests[row] == candidates.digests[model] else "near_copy",
            f"shows the same as {candidates.keys[model]} of {candidates.persons[model]}",
        )
        for row, model in sorted(copies.items())
    ]


def _likeness(candidates: Candidates, alive: np.ndarray, kind: str, seed: int) -> Float[np.ndarray, " N"]:
    likeness = np.full(len(alive), np.nan)
    for person, rows in _by_person(candidates, alive).items():
        likeness[rows] = similarities(candidates.embeddings[rows], kind, seed, person)
    return likeness


def _numbers(
    candidates: Candidates, alive: np.ndarray, ranks: Sequence[tuple[Any, ...]], settings: PersonSettings
) -> list[LeftOut]:
    """Photos of persons with too few, and the least good of persons with too many."""
    found: list[LeftOut] = []
    for person, rows in _by_person(candidates, alive).items():
        if len(rows) < settings.minimum:
            detail = f"{len(rows)} photos of {person} are left, less than {settings.minimum}"
            found += [LeftOut(row, "few_photos", detail) for row in rows]
        elif 0 < settings.most < len(rows):
            detail = f"{person} has {settings.most} better photos"
            surplus = sorted(rows, key=ranks.__getitem__)[settings.most :]
            found += [LeftOut(row, "over_the_cap", detail) for row in surplus]
    return found


def _by_person(candidates: Candidates, alive: np.ndarray) -> Mapping[str, list[int]]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row in np.flatnonzero(alive).tolist():
        rows[candidates.persons[row]].append(row)
    return {person: rows[person] for person in sorted(rows)}
