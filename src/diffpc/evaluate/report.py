"""The last step: one page that holds everything, the same in Markdown, and CSV for programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path

from diffpc.errors import InputError, UsageError
from diffpc.evaluate.columns import PARTS
from diffpc.evaluate.gauge import load_gauge
from diffpc.evaluate.manifest import Manifest
from diffpc.evaluate.pictures import (
    Row,
    best_median_worst,
    failures,
    intervals_plot,
    picture_row,
    similarity_plot,
)
from diffpc.evaluate.score import load_scores
from diffpc.evaluate.tables import (
    MARK,
    Cell,
    Named,
    control_table,
    figures_csv,
    main_table,
    markdown,
    part_table,
    portraits_csv,
)
from diffpc.evaluate.verification import load_calibration
from diffpc.files import atomic_write

_STYLE = """
body { font: 14px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1250px; padding: 0 1em; color: #222 }
table { border-collapse: collapse; margin: .6em 0 1.6em; font-size: 13px }
td, th { border-bottom: 1px solid #ddd; padding: .3em .6em; text-align: left; vertical-align: top }
th { border-bottom: 2px solid #888 } .wide { overflow-x: auto }
.row { display: flex; gap: .5em; align-items: flex-start; margin: .5em 0 }
.row img, .none { width: 128px; height: 128px; background: #eee; display: block }
.row p { margin: 0; font-size: 12px; max-width: 640px; color: #444 } h3 { margin-bottom: .2em }
"""

_READ = (
    "Intervals are 95 %, by a bootstrap over persons. "
    f"{MARK} marks a figure whose network conditions the system: it flatters. The paper's figures are of other photos "
    "and other judges; they show the layout, not a rival. Compare systems only within this page."
)


def report(systems: Mapping[str, Path], manifest: Manifest, photos: Path, output: Path) -> list[Path]:
    """Write report.html, report.md, figures.csv and one CSV of portraits per system.

    Args:
        systems: name -> folder of its pictures, scored.
        manifest: the benchmark that they were scored on.
        photos: folder of its photos.
        output: folder to write to.

    Raises:
        UsageError: if there is no system, or the judges differ.
        InputError: if scores are missing, broken or another benchmark's.
    """
    named = [Named(name, load_scores(folder)) for name, folder in systems.items()]
    _check(named, manifest)
    files = {"report.html": page(named, list(systems.values()), manifest, photos), "report.md": text(named)}
    files["figures.csv"] = figures_csv(named)
    files |= {f"portraits-{one.name}.csv": portraits_csv(one) for one in named}
    for name, content in files.items():
        with atomic_write(output / name) as stream:
            stream.write(content.encode())
    return [output / name for name in files]


def text(systems: Sequence[Named]) -> str:
    """The tables in Markdown."""
    scores = systems[0].scores
    parts = [f"# {scores.benchmark}", _about(systems), _READ, markdown(main_table(systems))]
    for part in PARTS:
        parts += [f"## {part.capitalize()}", markdown(part_table(systems, part))]
    for one in systems:
        if one.scores.controls:
            parts += [f"## Negative controls: {one.name}", _CONTROL, markdown(control_table(one))]
    return "\n\n".join([*parts, "## The judges", "\n".join(f"- {line}" for line in judges())]) + "\n"


_CONTROL = (
    "Every person is given another person's references, targets or prompts, ten times at random, and the same pictures "
    "are measured again: "
    "what measures identity, pose or text must fall. The loss is taken portrait by portrait, and a metric falls if its "
    "whole interval lies above 0. A row that does not fall says that the system does not obey "
    "there, or that the metric cannot tell."
)


def page(systems: Sequence[Named], folders: Sequence[Path], manifest: Manifest, photos: Path) -> str:
    """The whole page: nothing is loaded from elsewhere."""
    scores = systems[0].scores
    parts = [f"<h1>{escape(scores.benchmark)}</h1>", _paragraph(_about(systems)), _paragraph(_READ)]
    parts += [_table(main_table(systems)), intervals_plot(systems)]
    for part in PARTS:
        parts += [f"<h2>{part.capitalize()}</h2>", _table(part_table(systems, part))]
    for one, folder in zip(systems, folders, strict=True):
        parts += _of_system(one, folder, manifest, photos)
    parts += ["<h2>The judges</h2>", "<ul>", *(f"<li>{escape(line)}</li>" for line in judges()), "</ul>"]
    head = f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(scores.benchmark)}</title>'
    return f"{head}<style>{_STYLE}</style></head><body>{chr(10).join(parts)}</body></html>\n"


def judges() -> Iterator[str]:
    """How far the judges themselves can be trusted, a line each."""
    for name in ("dlib", "judge"):
        known = load_calibration(name)
        if known and known.tested:
            told = known.tested
            yield (
                f"{name} verifies {told.source} ({told.pairs} pairs) with an accuracy of {told.accuracy:.3f} "
                f"(area {told.area:.3f}); at the threshold used here it accepts {told.accepts:.1%} of true pairs and "
                f"{told.false_accepts:.1%} of false ones"
            )
    settings = load_gauge().settings
    known = dict(settings.accuracy)
    angles = ", ".join(f"{name} {known[name]:.1f}°" for name in ("yaw", "pitch", "roll"))
    shown = ", ".join(f"{name} {known[name]:.2f}" for name in settings.expressions)
    looks = ", ".join(f"{name} {known[name]:.0%}" for name in settings.attributes)
    yield f"the gauge, on persons of peopleDevTest against its teacher: mean error of angles {angles}"
    yield f"the gauge: correlation of expressions {shown}"
    yield f"the gauge: mean of both classes' accuracies of looks {looks}; backgrounds are measured from pixels"


def _of_system(one: Named, folder: Path, manifest: Manifest, photos: Path) -> list[str]:
    title = escape(one.name)
    parts = [f"<h2>{title}</h2>", similarity_plot(one)]
    if one.scores.controls:
        parts += ["<h3>Negative controls</h3>", _paragraph(_CONTROL), _table(control_table(one))]
    metric = next(reversed([name for name in one.scores.columns if name.startswith("Sim (")]))
    shown = {f"{kind} by {metric}": rows for kind, rows in best_median_worst(one, metric).items()}
    shown |= {f"failures: {kind}": rows for kind, rows in failures(one).items()}
    for kind, rows in shown.items():
        parts.append(f"<h3>{escape(kind)}</h3><p>reference, target, portrait</p>")
        parts += [_row(picture_row(one, row, manifest, photos, folder)) for row in rows]
    return parts


def _row(row: Row) -> str:
    pictures = "".join(
        f'<img src="{one}" alt="">' if one else '<span class="none"></span>' for one in row.pictures
    )
    facts = "; ".join(f"{escape(name)} {value}" for name, value in row.facts)
    return f'<div class="row">{pictures}<p><b>{escape(row.title)}</b><br>{facts}</p></div>'


def _table(rows: Sequence[Sequence[Cell]]) -> str:
    def line(row: Sequence[Cell], tag: str) -> str:
        cells = (f"<b>{escape(one.text)}</b>" if one.best else escape(one.text) for one in row)
        return "<tr>" + "".join(f"<{tag}>{one}</{tag}>" for one in cells) + "</tr>"

    body = "".join(line(row, "td") for row in rows[1:])
    return f'<div class="wide"><table>{line(rows[0], "th")}{body}</table></div>'


def _paragraph(content: str) -> str:
    return f"<p>{escape(content)}</p>"


def _about(systems: Sequence[Named]) -> str:
    scores = systems[0].scores
    persons = len({name.split("/")[0] for name in scores.portraits})
    return (
        f"{scores.source or 'A benchmark'}: {persons} persons, {len(scores.portraits)} portraits per system. "
        f"Manifest sha256 {scores.manifest}; judges {scores.witnesses}."
    )


def _check(systems: Sequence[Named], manifest: Manifest) -> None:
    if not systems:
        raise UsageError("no system to report; pass --systems NAME=FOLDER")
    for one in systems:
        if one.scores.manifest != manifest.digest:
            raise InputError(
                f"{one.name}: was scored on another benchmark; pass the manifest it was scored on"
            )
        if one.scores.witnesses != systems[0].scores.witnesses:
            raise UsageError(
                f"{one.name}: was scored by other judges than {systems[0].name}; score both alike"
            )
