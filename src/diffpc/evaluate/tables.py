"""Scores of several systems -> tables: in the paper's layout and in full, as Markdown and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

from diffpc.evaluate.columns import CONDITIONS, PARTS
from diffpc.evaluate.score import Scores
from diffpc.evaluate.stats import Figure

MARK = "†"
"""Beside a figure whose network conditions the system."""

PAPER: dict[str, float] = {
    "Sim (arcface)": 74.1,
    "CLIP_i": 72.4,
    "Shape": 12.3,
    "Expr": 16.9,
    "Pose": 5.6,
    "CLIP_t": 31.1,
    "FID": 314.4,
}
"""The paper's Diff-PC on ID-centric-200 (its Table 2, 5,400 portraits): other photos, other judges."""

MAIN = ("Sim", "CLIP_i", "Shape", "Expr", "Pose", "CLIP_t", "FID", "seconds per portrait")
"""Columns of the paper's tables; Sim stands for one column per embedder."""


@dataclass(frozen=True)
class Named:
    """A system under the name that the report gives it."""

    name: str
    scores: Scores

    def figure(self, name: str) -> Figure | None:
        """The system's figure of that name."""
        return next((entry.figure for entry in self.scores.entries if entry.figure.name == name), None)


@dataclass(frozen=True)
class Cell:
    """One figure in words."""

    text: str
    best: bool = False


def main_columns(systems: Sequence[Named]) -> list[str]:
    """Names of the figures in the paper's layout."""
    names = _names(systems)
    found: list[str] = []
    for wanted in MAIN:
        several = [name for name in names if name.startswith(f"{wanted} (")]
        exact = [wanted] if wanted in names else []
        found += several if wanted in ("Sim", "CLIP_i", "CLIP_t") and several else exact
    return found


def main_table(systems: Sequence[Named]) -> list[list[Cell]]:
    """Rows of the paper's layout: a head, the paper's figures, then each system."""
    names = main_columns(systems)
    head = [Cell("system"), *(Cell(f"{name} {_arrow(systems, name)}") for name in names)]
    paper = [Cell("Diff-PC in the paper (other data)"), *(Cell(_plain(PAPER.get(name))) for name in names)]
    rows = [[Cell(one.name), *(cell(systems, one, name) for name in names)] for one in systems]
    return [head, paper, *rows]


def part_table(systems: Sequence[Named], part: str) -> list[list[Cell]]:
    """Every figure of one part: a row per figure, a column per system, then numbers and notes."""
    rows = [[Cell("metric"), *(Cell(one.name) for one in systems), Cell("N"), Cell("missed"), Cell("note")]]
    for name in _names(systems, part):
        known = [figure for one in systems if (figure := one.figure(name))]
        missed = " / ".join(str(figure.missed) for figure in known)
        policy = next((figure.policy for figure in known if figure.policy), "")
        rows.append(
            [
                Cell(f"{name}{_unit(known)} {_arrow(systems, name)}".strip()),
                *(cell(systems, one, name) for one in systems),
                Cell(" / ".join(str(figure.count) for figure in known)),
                Cell(f"{missed}, {policy}" if policy else ""),
                Cell(next((figure.note.removeprefix(CONDITIONS) for figure in known if figure.note), "")),
            ]
        )
    return rows


def control_table(one: Named) -> list[list[Cell]]:
    """What is left of each metric when references, targets or prompts are other persons'."""
    rows = [[Cell(text) for text in ("exchanged", "metric", "as drawn", "exchanged", "loss", "falls")]]
    rows += [
        [
            Cell(each.shuffled),
            Cell(each.figure.name),
            Cell(_text(each.figure)),
            Cell(_text(each.control)),
            Cell(_text(each.loss)),
            Cell("yes" if each.falls else "no"),
        ]
        for each in one.scores.controls
    ]
    return rows


def cell(systems: Sequence[Named], one: Named, name: str) -> Cell:
    """A system's figure; the best of several systems is marked."""
    figure = one.figure(name)
    if figure is None:
        return Cell("–")
    values = [other.value for each in systems if (other := each.figure(name)) and other.value is not None]
    better = {"higher": max, "lower": min}.get(figure.better)
    best = bool(better) and len(values) > 1 and figure.value == better(values) if better else False
    return Cell(_text(figure), best)


def markdown(rows: Sequence[Sequence[Cell]]) -> str:
    """A table for Markdown, the best in bold."""
    lines = ["| " + " | ".join(_marked(one) for one in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


def figures_csv(systems: Sequence[Named]) -> str:
    """Every figure of every system with its interval, numbers and note; for programs."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(
        [
            "system",
            "part",
            "metric",
            "value",
            "low",
            "high",
            "n",
            "persons",
            "missed",
            "policy",
            "better",
            "note",
        ]
    )
    for one in systems:
        for entry in one.scores.entries:
            known = entry.figure
            numbers = [_exact(value) for value in (known.value, known.low, known.high)]
            counts = [known.count, known.persons, known.missed]
            writer.writerow(
                [one.name, entry.part, known.name, *numbers, *counts, known.policy, known.better, known.note]
            )
    return stream.getvalue()


def portraits_csv(one: Named) -> str:
    """One row per portrait, one column per metric."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    names = list(one.scores.columns)
    writer.writerow(["portrait", *names])
    for row, portrait in enumerate(one.scores.portraits):
        writer.writerow([portrait, *(_exact(one.scores.columns[name][row]) for name in names)])
    return stream.getvalue()


def _names(systems: Sequence[Named], part: str | None = None) -> list[str]:
    entries = [entry for one in systems for entry in one.scores.entries if part in (None, entry.part)]
    ordered = sorted(entries, key=lambda entry: PARTS.index(entry.part))
    return list(dict.fromkeys(entry.figure.name for entry in ordered))


def _arrow(systems: Sequence[Named], name: str) -> str:
    figure = next((found for one in systems if (found := one.figure(name))), None)
    return {"higher": "↑", "lower": "↓"}.get(figure.better if figure else "", "")


def _unit(known: Sequence[Figure]) -> str:
    unit = next((figure.unit for figure in known if figure.unit), "")
    return f", {unit}" if unit else ""


def _text(figure: Figure) -> str:
    if figure.value is None:
        return "n/a"
    mark = MARK if figure.note.startswith(CONDITIONS) else ""
    if figure.low is None or figure.high is None:
        return f"{_plain(figure.value)}{mark}"
    return f"{_plain(figure.value)}{mark} [{_plain(figure.low)}, {_plain(figure.high)}]"


def _plain(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def _exact(value: float | None) -> str:
    return "" if value is None else f"{value:.6g}"


def _marked(one: Cell) -> str:
    text = one.text.replace("|", "\\|")
    return f"**{text}**" if one.best else text
