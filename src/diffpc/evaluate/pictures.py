"""Plots and rows of portraits for the report, as texts that fit into a page."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from diffpc.backends import require
from diffpc.errors import InputError
from diffpc.evaluate.manifest import Case, Manifest
from diffpc.evaluate.tables import Named, main_columns
from diffpc.images import cover_crop, read_image
from diffpc.types import Image

SIDE = 192
"""Of a picture in the report, in pixels."""

SHOWN = 4
"""Rows of each kind."""


@dataclass(frozen=True)
class Row:
    """A portrait beside what it was made from."""

    case: Case
    title: str
    pictures: tuple[str, ...]
    """Reference, target, portrait as data: addresses; "" where there is none."""
    facts: tuple[tuple[str, str], ...]
    """What was measured."""


def ranked(one: Named, metric: str) -> list[int]:
    """Rows of the portraits from worst to best by a metric; those without a value come first."""
    values = one.scores.columns[metric]
    better = next(entry.figure.better for entry in one.scores.entries if entry.figure.name == metric)
    sign = 1 if better == "higher" else -1

    def place(row: int) -> tuple[float, int]:
        value = values[row]
        return (-np.inf if value is None else sign * value, row)

    return sorted(range(len(values)), key=place)


def best_median_worst(one: Named, metric: str, count: int = SHOWN) -> dict[str, list[int]]:
    """Rows to show, one per person; portraits without a face are the failure gallery's."""
    order = [row for row in ranked(one, metric) if one.scores.columns[metric][row] is not None]
    middle = max(0, len(order) // 2 - count // 2)
    median = _of_many(one, order[middle:], count)
    return {"best": _of_many(one, order[::-1], count), "median": median, "worst": _of_many(one, order, count)}


def failures(one: Named, count: int = 2 * SHOWN) -> dict[str, list[int]]:
    """Rows where something went wrong: nothing drawn, no face, the farthest from the pose or the expression."""
    found = {
        "not drawn": [row for row, value in enumerate(one.scores.columns.get("not drawn", [])) if value],
        "no face": [row for row, value in enumerate(one.scores.columns.get("no face", [])) if value],
    }
    for metric in ("Pose, degrees", "Expr"):
        known = one.scores.columns.get(metric, [])
        order = [row for row in ranked(one, metric) if known[row] is not None] if known else []
        found[f"worst {metric}"] = _of_many(one, order, count // 2)
    return {name: rows[:count] for name, rows in found.items() if rows}


def picture_row(one: Named, row: int, manifest: Manifest, photos: Path, folder: Path) -> Row:
    """One portrait with its photos.

    Raises:
        InputError: if a photo is missing.
    """
    case = manifest.cases()[row]
    files = [photos / case.of.reference.path, photos / case.of.targets[case.target].path, folder / case.name]
    values = {name: column[row] for name, column in one.scores.columns.items()}
    facts = tuple((name, f"{value:.1f}") for name, value in values.items() if value is not None)
    prompt = case.of.prompts[case.prompt].text
    return Row(case, f"{case.name}: {prompt}", tuple(_address(path) for path in files), facts)


def intervals_plot(systems: Sequence[Named]) -> str:
    """The figures of the paper's layout with their intervals, a small plot each; SVG.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    names = [name for name in main_columns(systems) if any(_known(one, name) for one in systems)]
    figure, axes = _canvas(len(names))
    for axis, name in zip(axes, names, strict=False):
        for place, one in enumerate(systems):
            found = one.figure(name)
            if found is None or found.value is None:
                continue
            axis.plot(found.value, place, "o", color="#245")
            if found.low is not None and found.high is not None:
                axis.plot([found.low, found.high], [place, place], color="#245")
        axis.set_title(name, fontsize=8)
        axis.set_yticks(range(len(systems)), [one.name for one in systems], fontsize=7)
        axis.set_ylim(len(systems) - 0.5, -0.5)
    return _svg(figure)


def similarity_plot(one: Named) -> str:
    """How Sim spreads over portraits, per embedder, and where exchanged references would put its mean; SVG.

    Raises:
        UsageError: if matplotlib is not installed.
    """
    names = [name for name in one.scores.columns if name.startswith("Sim (")]
    figure, axes = _canvas(len(names))
    for axis, name in zip(axes, names, strict=False):
        values = [value for value in one.scores.columns[name] if value is not None]
        axis.hist(values, bins=24, color="#9bc")
        for each in one.scores.controls:
            if each.figure.name == name and each.control.value is not None and each.figure.value is not None:
                axis.axvline(each.figure.value, color="#245", label="mean")
                axis.axvline(each.control.value, color="#b33", linestyle="--", label="others' references")
                axis.legend(fontsize=6)
        axis.set_title(name, fontsize=8)
    return _svg(figure)


def _of_many(one: Named, rows: Sequence[int], count: int) -> list[int]:
    """The first rows, of each person the first one."""
    first: dict[str, int] = {}
    for row in rows:
        first.setdefault(one.scores.portraits[row].split("/")[0], row)
    return list(first.values())[:count]


def _known(one: Named, name: str) -> bool:
    found = one.figure(name)
    return found is not None and found.value is not None


def _canvas(count: int) -> tuple[Any, Any]:
    require("matplotlib", "evaluate")
    import matplotlib
    from matplotlib.figure import Figure as Canvas

    # The same scores are to give the same page.
    matplotlib.rcParams["svg.hashsalt"] = "diffpc"
    columns = min(4, max(1, count))
    lines = max(1, -(-count // columns))
    figure = Canvas(figsize=(2.6 * columns, 1.7 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for axis in axes[count:]:
        axis.set_visible(False)
    for axis in axes:
        axis.tick_params(labelsize=7)
    return figure, axes


def _svg(figure: Any) -> str:
    stream = io.StringIO()
    figure.savefig(stream, format="svg", metadata={"Date": None, "Creator": None})
    text = stream.getvalue()
    return text[text.index("<svg") :]


def _address(path: Path) -> str:
    if not path.is_file():
        return ""
    try:
        picture = cover_crop(read_image(path), SIDE, SIDE)
    except InputError:
        return ""
    return data_address(picture)


def data_address(picture: Image) -> str:
    """The picture as a data: address (JPEG)."""
    stream = io.BytesIO()
    PILImage.fromarray(picture).save(stream, "JPEG", quality=88)
    return "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode()
