"""The report's pictures: distributions, and contact sheets of photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PILImage

from diffpc.backends import require
from diffpc.files import atomic_write

_INK, _GRID = "#30507a", "#d8dde6"
_SHEET, _GAP, _ACROSS = 128, 4, 12


def histogram(
    file: Path,
    values: Sequence[float | int],
    edges: Sequence[float | int],
    label: str,
    logarithmic: bool = False,
) -> None:
    """Draw how many photos (or persons) lie between the edges; what lies beyond counts in the outermost bars."""
    figure, axes = _axes(label)
    inside = np.clip(np.asarray(values, float), edges[0], np.nextafter(edges[-1], edges[0]))
    axes.hist(inside, bins=list(edges), color=_INK)
    if logarithmic:
        axes.set_yscale("log")
    if len(values):
        axes.set_title(
            f"{len(values):,} in all, median {np.median(np.asarray(values, float)):.3g}", fontsize=9
        )
    _save(figure, file)


def bars(file: Path, counts: Mapping[str, int], label: str) -> None:
    """Draw one bar per name, in the order given, with its share."""
    figure, axes = _axes(label)
    total = max(1, sum(counts.values()))
    drawn = axes.bar(list(counts), list(counts.values()), color=_INK)
    axes.tick_params(axis="x", labelrotation=30 if len(counts) > 4 else 0)
    axes.bar_label(drawn, [f"{count / total:.1%}" for count in counts.values()], fontsize=8)
    _save(figure, file)


def contact_sheet(file: Path, pictures: Sequence[bytes]) -> None:
    """Lay small pictures out in rows, as a PNG."""
    step = _SHEET + _GAP
    rows = -(-len(pictures) // _ACROSS)
    sheet = PILImage.new("RGB", (min(len(pictures), _ACROSS) * step + _GAP, rows * step + _GAP), "white")
    for number, content in enumerate(pictures):
        picture = PILImage.open(BytesIO(content))
        picture.thumbnail((_SHEET, _SHEET))
        sheet.paste(picture, (_GAP + number % _ACROSS * step, _GAP + number // _ACROSS * step))
    with atomic_write(file) as stream:
        sheet.save(stream, "PNG")


def _axes(label: str) -> tuple[Any, Any]:
    # The object interface: pyplot would look for a screen and keep every figure.
    figure = require("matplotlib.figure", "curate").Figure(figsize=(5.2, 3.0), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(label)
    axes.grid(axis="y", color=_GRID)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    return figure, axes


def _save(figure: Any, file: Path) -> None:
    with atomic_write(file) as stream:
        figure.savefig(stream, format="png", dpi=110, metadata={"Software": None})
