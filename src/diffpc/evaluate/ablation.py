"""The paper's ablations: variants, their scores, and Tables 4 to 7 beside the paper's, direction by direction."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffpc.evaluate.draw import draw
from diffpc.evaluate.manifest import Manifest
from diffpc.evaluate.options import ModelChoice, ScoreOptions
from diffpc.evaluate.score import Scores, score
from diffpc.evaluate.stats import Figure, Rule, summarise
from diffpc.evaluate.system import DiffPCSystem
from diffpc.evaluate.tables import Cell, Named, markdown
from diffpc.presets import ablations
from diffpc.settings import AdapterSettings
from diffpc.types import Say

FULL = "full"
"""The method itself; every table ends with it."""


@dataclass(frozen=True)
class Variant:
    """One way to train."""

    name: str
    adapter: AdapterSettings
    identity_loss: bool = True
    """Whether L_id is in the loss."""
    same_person_pairs: bool = True
    """Whether reference and target are two photos."""


Train = Callable[[Variant, Path], Path]
"""Trains a variant in a folder, or finds it trained there; returns the model's folder."""


@dataclass(frozen=True)
class PaperRow:
    """A row of the paper's tables; percent as printed there."""

    sim: float
    clip_i: float
    expr: float
    pose: float


ROWS: dict[str, dict[str, tuple[str, PaperRow | None]]] = {
    "Table 4: identity features": {
        "local": ("local", PaperRow(65.2, 65.5, 19.8, 6.6)),
        "global": ("global", PaperRow(67.0, 64.7, 19.3, 6.3)),
        "concat": ("concatenated", PaperRow(67.3, 65.2, 19.4, 6.4)),
        FULL: ("ID-Encoder", PaperRow(68.9, 66.1, 19.3, 6.4)),
    },
    "Table 5: control": {
        "ip_adapter": ("IP-Adapter + pose ControlNet", PaperRow(62.7, 62.5, 21.9, 7.4)),
        "id_ctrl": ("ID-Ctrl", PaperRow(66.4, 65.4, 19.8, 6.6)),
        FULL: ("ID-Ctrl + ID-Injector", PaperRow(68.9, 66.1, 19.3, 6.4)),
    },
    "Table 6: ID loss": {
        "no_identity_loss": ("without", PaperRow(68.3, 65.9, 19.2, 6.4)),
        FULL: ("with", PaperRow(68.9, 66.1, 19.3, 6.4)),
    },
    "Table 7: same-person pairs": {
        "no_pairs": ("without", PaperRow(67.8, 65.7, 19.8, 6.8)),
        FULL: ("with", PaperRow(68.9, 66.1, 19.3, 6.4)),
    },
    "Not in the paper: the reference's skin": {
        "skin": ("with", None),
        FULL: ("the full method", None),
    },
}
"""table -> variant -> words and the paper's figures. Its other row of Table 7, another data set, needs that set."""

COLUMNS: tuple[tuple[str, str], ...] = (
    ("Sim", "sim"),
    ("CLIP_i", "clip_i"),
    ("Expr", "expr"),
    ("Pose", "pose"),
)
"""How the names of our figures begin -> field of PaperRow."""


def variants(adapter: AdapterSettings, skin: bool = False) -> dict[str, Variant]:
    """All that the four tables need, each once.

    Args:
        adapter: the networks that variants change in one respect.
        skin: whether all of them are told the reference's skin, which the paper's are not.
    """
    found = {name: Variant(name, settings) for name, settings in ablations(adapter).items()}
    if skin:
        told = {name: replace(one, adapter=replace(one.adapter, skin=True)) for name, one in found.items()}
        found = {name: one for name, one in told.items() if name != "skin"}
    full = found[FULL]
    more = [
        replace(full, name="no_identity_loss", identity_loss=False),
        replace(full, name="no_pairs", same_person_pairs=False),
    ]
    return found | {one.name: one for one in more}


def ablate(
    chosen: Sequence[Variant],
    train: Train,
    benchmark: tuple[Manifest, Path],
    folder: Path,
    options: ScoreOptions,
    say: Say,
) -> dict[str, Scores]:
    """Train, draw and score each variant; what is there already is kept.

    Args:
        chosen: variants.
        train: see `Train`.
        benchmark: manifest and folder of its photos.
        folder: gets a folder per variant.
        options: who looks.
        say: takes news.
    """
    manifest, photos = benchmark
    found: dict[str, Scores] = {}
    for one in chosen:
        say(f"variant {one.name}")
        model = train(one, folder / one.name)
        pictures = folder / one.name / "pictures"
        draw(manifest, photos, DiffPCSystem(ModelChoice(model=str(model))), pictures, say)
        found[one.name] = score(manifest, photos, pictures, options, say)
    return found


def ablation_tables(scores: Mapping[str, Scores]) -> str:
    """The tables in Markdown: ours with intervals, the paper's, and whether each step goes the same way."""
    parts = [
        "Ours: 95 % intervals over persons. The paper's figures are of other photos and a far larger model: only the "
        "direction from a row to the last one can be compared. What the last row adds, portrait by portrait: *same*, "
        "it goes the paper's way, *other*, the other way, *open*, its interval has 0 within."
    ]
    for title, rows in ROWS.items():
        known = {name: row for name, row in rows.items() if name in scores}
        if known.keys() - {FULL}:
            parts += [f"## {title}", markdown(_table(known, scores))]
    return "\n\n".join(parts) + "\n"


def difference(mine: Scores, full: Scores, name: str) -> Figure | None:
    """How much more a metric is with the full method, portrait by portrait: of the same persons, targets and prompts.

    Returns:
        None where no portrait has a value of both.
    """
    columns = [dict(zip(one.portraits, one.columns.get(name, ()), strict=False)) for one in (full, mine)]
    pairs = {key: (value, columns[1].get(key)) for key, value in columns[0].items()}
    found = {key: a - b for key, (a, b) in pairs.items() if a is not None and b is not None}
    if not found:
        return None
    persons = [key.rpartition("/")[0] for key in found]
    return summarise(np.array(list(found.values())), persons, Rule(f"difference of {name}"))


def direction(gained: Figure, paper: tuple[float, float]) -> str:
    """Whether the full method changes a metric as in the paper: same, other, open or "" without figures.

    Args:
        gained: from `difference`.
        paper: the variant's printed figure and the full method's.
    """
    if gained.low is None or gained.high is None:
        return ""
    if gained.low <= 0 <= gained.high:
        return "open"
    return "same" if (gained.value or 0.0) * (paper[1] - paper[0]) > 0 else "other"


def _table(rows: Mapping[str, tuple[str, PaperRow | None]], scores: Mapping[str, Scores]) -> list[list[Cell]]:
    names = [name for prefix, _ in COLUMNS for name in _names(scores, prefix)]
    table = [
        [Cell("variant"), *(Cell(text) for name in names for text in (name, "paper", "the last row adds"))]
    ]
    for variant, (words, paper) in rows.items():
        cells = [Cell(words)]
        for name in names:
            field = next(field for prefix, field in COLUMNS if name.split(" (")[0] == prefix)
            printed, last = (_printed(row, field) for row in (paper, rows.get(FULL, ("", None))[1]))
            added = ""
            if variant != FULL and FULL in scores:
                added = _added(difference(scores[variant], scores[FULL], name), printed, last)
            mine = _text(_figure(scores[variant], name))
            cells += [Cell(mine), Cell("" if printed is None else f"{printed:g}"), Cell(added)]
        table.append(cells)
    return table


def _added(gained: Figure | None, printed: float | None, last: float | None) -> str:
    """A difference, and its direction where the paper has figures."""
    if gained is None:
        return ""
    amount = f"{gained.value:+.1f} [{gained.low:+.1f}, {gained.high:+.1f}]"
    return amount if printed is None or last is None else f"{direction(gained, (printed, last))} {amount}"


def _printed(row: PaperRow | None, field: str) -> float | None:
    return None if row is None else getattr(row, field)


def _names(scores: Mapping[str, Scores], prefix: str) -> list[str]:
    first = Named("", next(iter(scores.values())))
    names = [entry.figure.name for entry in first.scores.entries]
    return [
        name
        for name in dict.fromkeys(names)
        if name == prefix or (prefix == "Sim" and name.startswith("Sim ("))
    ]


def _figure(scores: Scores, name: str) -> Figure:
    return Named("", scores).figure(name) or Figure(name, None)


def _text(figure: Figure) -> str:
    if figure.value is None:
        return "n/a"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.1f}"
    return f"{figure.value:.1f} [{figure.low:.1f}, {figure.high:.1f}]"
