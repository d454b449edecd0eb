"""All that was observed, one row per portrait, with its reference's, target's and other photo's rows beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import Int

from diffpc.evaluate.manifest import Case, Manifest, Prompt, checked_photo
from diffpc.evaluate.observe import Witnesses, joined, observe
from diffpc.types import Say

GROUP = 64
"""Photos whose observations are kept in one file."""

CACHE = "observed"
"""Folder of observations."""

Rows = Mapping[str, np.ndarray]
"""name -> (N, D) float64, not a number where a face or a picture is missing."""

Shuffled = Literal["references", "targets", "prompts"]
"""What a negative control exchanges between persons."""


@dataclass(frozen=True)
class Table:
    """N portraits and what they are held against, row by row."""

    cases: tuple[Case, ...]
    portraits: Rows
    references: Rows
    targets: Rows
    others: Rows
    """Other photos of the same persons; rows that are not a number where the benchmark has none."""
    prompts: tuple[Prompt, ...]
    texts: np.ndarray | None = None
    """(N, D) text vectors of the prompts; None without a text encoder."""
    owner: Int[np.ndarray, " N"] = field(default_factory=lambda: np.zeros(0, int))
    """Row of `people` that is each row's reference."""
    people: Rows = field(default_factory=dict)
    """One row per person's reference."""

    @property
    def persons(self) -> list[str]:
        """Whose portrait each row is."""
        return [case.of.person for case in self.cases]

    def value(self, place: Literal["portraits", "references", "targets", "others"], name: str) -> np.ndarray:
        """(N, D) of one kind of picture; all not a number where nobody has it."""
        rows: Rows = getattr(self, place)
        if name in rows:
            return rows[name]
        width = next(
            (each[name].shape[1] for each in (self.portraits, self.references, self.targets) if name in each),
            1,
        )
        return np.full((len(self.cases), width), np.nan)


def gather(
    manifest: Manifest, photos: Path, folder: Path, witnesses: Witnesses, cache: Path, say: Say
) -> Table:
    """Look at the portraits in `folder` and at the benchmark's photos; what was seen before is recalled.

    Args:
        manifest: the benchmark.
        photos: folder of its photos.
        folder: of pictures by the manifest's names, of any system.
        witnesses: who looks.
        cache: folder of observations.
        say: takes news.

    Raises:
        InputError: if a photo is missing or changed, or a picture is broken.
    """
    known = _photos(manifest, photos, witnesses, cache / CACHE / "photos", say)
    parts: list[Rows] = []
    for number, person in enumerate(manifest.people, 1):
        names = [(case.name, folder / case.name) for case in person.cases()]
        parts.append(observe(witnesses, names, cache / CACHE / f"{person.person}.safetensors"))
        if number % 10 == 0 or number == len(manifest.people):
            say(f"{number} of {len(manifest.people)} persons' portraits looked at")
    cases = manifest.cases()
    index = {person.person: row for row, person in enumerate(manifest.people)}
    return Table(
        cases=tuple(cases),
        portraits=joined(parts),
        references=_pick(known, [case.of.reference.path for case in cases]),
        targets=_pick(known, [case.of.targets[case.target].path for case in cases]),
        others=_pick(known, [case.of.other.path if case.of.other else None for case in cases]),
        prompts=tuple(case.of.prompts[case.prompt] for case in cases),
        owner=np.array([index[case.of.person] for case in cases]),
        people=_pick(known, [person.reference.path for person in manifest.people]),
    )


def shuffled(table: Table, what: Shuffled, seed: int = 0) -> Table:
    """The table with every person's references, targets or prompts taken from another person.

    If a metric measures what it says, it falls to chance on such a table.
    """
    names = list(dict.fromkeys(table.persons))
    order = np.random.default_rng(seed).permutation(len(names))
    # Everyone gets the next one's in a random circle, so nobody keeps their own.
    giver = {names[one]: names[other] for one, other in zip(order, np.roll(order, 1), strict=True)}
    first: dict[tuple[str, int, int, int], int] = {
        (case.of.person, case.target, case.prompt, case.seed): row for row, case in enumerate(table.cases)
    }
    rows = np.array([_donor(case, giver[case.of.person], first) for case in table.cases])
    if what == "references":
        return replace(
            table,
            references=_take(table.references, rows),
            others=_take(table.others, rows),
            owner=table.owner[rows],
        )
    if what == "targets":
        return replace(table, targets=_take(table.targets, rows))
    texts = None if table.texts is None else table.texts[rows]
    return replace(table, prompts=tuple(table.prompts[row] for row in rows), texts=texts)


def _donor(case: Case, giver: str, rows: Mapping[tuple[str, int, int, int], int]) -> int:
    """The giver's case of the same numbers, or the giver's first if there is none."""
    return rows.get((giver, case.target, case.prompt, case.seed), rows[(giver, 0, 0, 0)])


def _photos(
    manifest: Manifest, photos: Path, witnesses: Witnesses, cache: Path, say: Say
) -> dict[str, tuple[Rows, int]]:
    """Path -> the table and the row it was seen in."""
    files = manifest.photos()
    found: dict[str, tuple[Rows, int]] = {}
    for start in range(0, len(files), GROUP):
        part = files[start : start + GROUP]
        names = [(photo.path, checked_photo(photos, photo)) for photo in part]
        rows = observe(witnesses, names, cache.with_name(f"{cache.name}-{start // GROUP}.safetensors"))
        found |= {photo.path: (rows, row) for row, photo in enumerate(part)}
        say(f"{start + len(part)} of {len(files)} photos looked at")
    return found


def _pick(known: Mapping[str, tuple[Rows, int]], paths: Sequence[str | None]) -> dict[str, np.ndarray]:
    widths = {name: value.shape[1] for rows, _ in known.values() for name, value in rows.items()}

    def row(path: str | None, name: str) -> np.ndarray:
        if path is None or name not in known[path][0]:
            return np.full(widths[name], np.nan)
        rows, number = known[path]
        return rows[name][number]

    return {name: np.stack([row(path, name) for path in paths]) for name in widths}


def _take(rows: Rows, index: Int[np.ndarray, " N"]) -> Rows:
    return {name: value[index] for name, value in rows.items()}
