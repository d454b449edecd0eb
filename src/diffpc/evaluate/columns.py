"""Every metric of a table as a column: one value per portrait, with its name, direction and missed-face policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from diffpc.evaluate import metrics
from diffpc.evaluate.background import COLOURS, PREFIX
from diffpc.evaluate.stats import Rule
from diffpc.evaluate.table import Table
from diffpc.evaluate.verification import Calibration

CONDITIONS = "conditions the model; "
"""How the note of a figure begins whose network the system itself looks through."""

EYELIDS_AND_JAW = ("eyeBlink", "jaw")
"""What the names of such coefficients begin with, in a basis that has them among the others."""

FARTHEST = 40.0
"""Degrees to either side; beyond it the far half of a face is hidden, and yaw is guessed."""

PREDICTED = {"mouth opening": ("jawOpen",), "smile": ("mouthSmileLeft", "mouthSmileRight")}
GAUGED = {"mouth opening": ("jaw_open",), "smile": ("smile",)}
"""What the face does -> the names of its coefficients: the predictor's and the gauge's."""

_IDENTITY, _POSE, _TEXT, _WHOLE = "identity", "pose and expression", "text", "the whole"
PARTS = (_IDENTITY, _POSE, _TEXT, _WHOLE)
"""Headings of a report."""


@dataclass(frozen=True)
class Column:
    """One metric on N portraits."""

    part: str
    """One of PARTS."""
    rule: Rule
    values: Float[np.ndarray, " N"]
    """Not a number where it was missed."""
    applies: Bool[np.ndarray, " N"] | None = None
    """Which portraits it is about; None: all."""


@dataclass(frozen=True)
class Judges:
    """What the columns need to know beside the table."""

    calibrations: tuple[Calibration, ...]
    """One per embedder; an empty source marks an embedder without one."""
    conditions: str | None
    """Name of the embedder that conditions the system, if known."""
    expressions: tuple[str, ...]
    """Names of the predictor's expression coefficients; empty where they have none."""
    attributes: tuple[str, ...]
    """Names of the gauge's attributes."""
    images: tuple[str, ...] = ()
    """Names of image features with a text encoder beside them (CLIP)."""
    gestures: tuple[str, ...] = ()
    """Names of the gauge's expressions."""


def columns(table: Table, judges: Judges) -> list[Column]:
    """All columns of a table, in the order of the report."""
    found = [one for known in judges.calibrations for one in _identity(table, known, judges.conditions)]
    return [*found, *_shape(table), *_pose(table, judges), *_text(table, judges), *_whole(table)]


def _identity(table: Table, known: Calibration, conditions: str | None) -> list[Column]:
    name, who, centre = f"vector/{known.embedder}", known.embedder, known.offset
    mark = CONDITIONS if who == conditions else ""
    portrait, reference = table.value("portraits", name), table.value("references", name)
    similarity = metrics.cosine(portrait, reference, centre)
    about = f"{mark}{'centred cosine' if known.centre else 'cosine'} x 100"
    found = [Column(_IDENTITY, Rule(f"Sim ({who})", missed=0.0, scale=100.0, note=about), similarity)]
    if known.source:
        note = f"{mark}similarity of {known.threshold:.3f} or more: 1 % false accepts on {known.source}"
        rule = Rule(f"accepted ({who})", missed=0.0, scale=100.0, note=note, unit="%")
        found.append(Column(_IDENTITY, rule, metrics.accepted(similarity, known.threshold)))
    if name in table.people:
        count = len(table.people[name])
        note = f"{mark}nearest of {count} references; chance {100 / count:.1f}"
        rule = Rule(f"top-1 ({who})", missed=0.0, scale=100.0, note=note, unit="%")
        nearest = metrics.retrieved(portrait, table.people[name], table.owner, centre)
        found.append(Column(_IDENTITY, rule, nearest))
    has_other = np.array([case.of.other is not None for case in table.cases])
    if has_other.any():
        note = f"{mark}1: a copy of the reference; 0: no nearer to it than to another photo of the person"
        copied = metrics.copy_score(portrait, reference, table.value("others", name), centre)
        found.append(Column(_IDENTITY, Rule(f"copy score ({who})", "lower", note=note), copied, has_other))
    return found


def _shape(table: Table) -> list[Column]:
    values = metrics.coefficient_error(
        table.value("portraits", "params/shape"), table.value("references", "params/shape")
    )
    return [Column(_IDENTITY, Rule("Shape", "lower", note="RMSE of coefficients x 100"), values)]


def _pose(table: Table, judges: Judges) -> list[Column]:
    def pair(*names: str) -> tuple[np.ndarray, np.ndarray]:
        known = [name for name in names if _has(table, name)] or names[:1]
        found, wanted = (
            np.concatenate([table.value(place, f"params/{name}") for name in known], axis=1)
            for place in ("portraits", "targets")
        )
        return found, wanted

    note = "RMSE of coefficients x 100"
    apart = [i for i, name in enumerate(judges.expressions) if not name.startswith(EYELIDS_AND_JAW)]
    whole = metrics.coefficient_error(*pair("expression", "eyelid", "jaw"))
    without = metrics.coefficient_error(*pair("expression"), apart or None)
    rotation, gauge = (
        pair("rotation"),
        [table.value(place, "gauge/rotation") for place in ("portraits", "targets")],
    )
    second = [table.value(place, "gauge/expression") for place in ("portraits", "targets")]
    return [
        Column(_POSE, Rule("Expr", "lower", note=note), whole),
        Column(_POSE, Rule("Expr without eyelids and jaw", "lower", note=note), without),
        Column(
            _POSE,
            Rule("Pose", "lower", note="RMSE of the rotation vector x 100"),
            metrics.coefficient_error(*rotation),
        ),
        Column(_POSE, Rule("Pose, degrees", "lower"), metrics.rotation_error(*rotation)),
        Column(
            _POSE,
            Rule("camera", "lower", note="RMSE of scale and shift x 100"),
            metrics.coefficient_error(*pair("camera")),
        ),
        Column(
            _POSE,
            Rule("Pose, degrees (gauge)", "lower", note="second estimator"),
            metrics.rotation_error(gauge[0], gauge[1]),
        ),
        Column(
            _POSE,
            Rule(
                "Expr (gauge)", "lower", scale=100.0, note="second estimator: mean difference of scores x 100"
            ),
            metrics.mean_difference(second[0], second[1]),
        ),
        _yaw(table),
        *_gestures(table, judges),
    ]


def _yaw(table: Table) -> Column:
    found, wanted = (
        metrics.yaw_degrees(table.value(place, "params/rotation")) for place in ("portraits", "targets")
    )
    rule = Rule("yaw, degrees", "lower", note=f"targets that turn by up to {FARTHEST:.0f} degrees")
    return Column(_POSE, rule, np.abs(found - wanted), np.abs(wanted) <= FARTHEST)


def _gestures(table: Table, judges: Judges) -> list[Column]:
    """How portraits' mouths follow the targets': by the predictor, where its basis has names, and by the gauge."""
    found: list[Column] = []
    readers = (
        ("params/expression", judges.expressions, PREDICTED, ""),
        ("gauge/expression", judges.gestures, GAUGED, " (gauge)"),
    )
    for rows, names, wanted, who in readers:
        for title, parts in wanted.items():
            chosen = [names.index(part) for part in parts if part in names]
            if len(chosen) < len(parts):
                continue
            pair = [table.value(place, rows)[:, chosen].mean(axis=1) for place in ("portraits", "targets")]
            note = "Pearson's, with the targets'; its interval takes their means and deviations as known"
            found.append(
                Column(
                    _POSE,
                    Rule(f"correlation of {title}{who}", note=note),
                    metrics.correlated(pair[0], pair[1]),
                )
            )
    return found


def _text(table: Table, judges: Judges) -> list[Column]:
    found: list[Column] = []
    for name in judges.images:
        crop, own = f"{name}/face", table.value("portraits", f"{name}/face")
        rule = Rule(f"CLIP_i ({name})", missed=0.0, scale=100.0, note="cosine of face crops x 100")
        found.append(Column(_IDENTITY, rule, metrics.cosine(own, table.value("references", crop))))
        if table.texts is not None:
            rule = Rule(f"CLIP_t ({name})", missed=0.0, scale=100.0, note="cosine x 100")
            found.append(Column(_TEXT, rule, metrics.cosine(table.value("portraits", name), table.texts)))
    contrast, pairs = obedience(table, judges.attributes)
    note = "how much more of an attribute where the text asks for it than where it denies it; 0: the text does nothing"
    found.append(Column(_TEXT, Rule("obedience", missed=0.0, scale=100.0, note=note), contrast, pairs))
    found += _obeyed(table, judges.attributes)
    named, about = background_obeyed(table)
    rule = Rule("background as asked", missed=0.0, scale=100.0, note="measured from the pixels", unit="%")
    found.append(Column(_TEXT, rule, named, about))
    return found


def _whole(table: Table) -> list[Column]:
    drawn = table.value("portraits", "drawn")[:, 0]
    faceless = np.where(drawn > 0, 1 - table.value("portraits", "found")[:, 0], np.nan)
    return [
        Column(_WHOLE, Rule("no face", "lower", scale=100.0, unit="%"), faceless, drawn > 0),
        Column(_WHOLE, Rule("not drawn", "lower", scale=100.0, unit="%"), 1 - drawn),
    ]


def obedience(table: Table, attributes: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Per portrait whose prompt asks for an attribute that the same person's other prompt denies: the difference.

    Returns:
        (N,) differences in [-1, 1], not a number where a face was missed, and (N,) which portraits it is about.
    """
    rows = {(c.of.person, c.target, c.prompt, c.seed): row for row, c in enumerate(table.cases)}
    values, about = np.full(len(rows), np.nan), np.zeros(len(rows), bool)
    for row, (case, prompt) in enumerate(zip(table.cases, table.prompts, strict=True)):
        for number in range(len(case.of.prompts)):
            other = rows.get((case.of.person, case.target, number, case.seed))
            if other is None:
                continue
            shared = [name for name in prompt.asks if name in table.prompts[other].denies]
            seen = [score(table, name, attributes) for name in shared]
            if seen := [scores for scores in seen if scores is not None]:
                about[row] = True
                values[row] = float(np.mean([scores[row] - scores[other] for scores in seen]))
    return values, about


def _obeyed(table: Table, attributes: Sequence[str]) -> list[Column]:
    """Per attribute that some prompt asks for and some prompt denies: whether a portrait has it, or has it not."""
    asked, denied = (
        {name for prompt in table.prompts for name in getattr(prompt, kind)} for kind in ("asks", "denies")
    )
    found: list[Column] = []
    for name in attributes:
        if name not in asked & denied or (seen := score(table, name, attributes)) is None:
            continue
        wanted = np.array([(name in prompt.asks) - (name in prompt.denies) for prompt in table.prompts])
        right = np.where(np.isnan(seen), np.nan, ((seen > 0.5) == (wanted > 0)).astype(float))
        rule = Rule(
            f"obeyed: {name}",
            missed=0.0,
            scale=100.0,
            note="the gauge sees what the text asks for, or denies; chance 50",
            unit="%",
        )
        found.append(Column(_TEXT, rule, right, wanted != 0))
    return found


def background_obeyed(table: Table) -> tuple[np.ndarray, np.ndarray]:
    """1 where the background has the colour that the prompt names, and which portraits name one."""
    values, about = np.full(len(table.cases), np.nan), np.zeros(len(table.cases), bool)
    for row, prompt in enumerate(table.prompts):
        if named := [name for name in prompt.asks if name.startswith(PREFIX)]:
            about[row] = True
            scores = score(table, named[0], ())
            values[row] = np.nan if scores is None else scores[row]
    return values, about


def score(table: Table, attribute: str, attributes: Sequence[str]) -> np.ndarray | None:
    """(N,) in [0, 1]: how much of an attribute each portrait has; None if nobody can tell."""
    colour = attribute.removeprefix(PREFIX)
    if attribute.startswith(PREFIX):
        return table.value("portraits", "background")[:, COLOURS.index(colour)] if colour in COLOURS else None
    if attribute in attributes:
        return table.value("portraits", "gauge/attribute")[:, list(attributes).index(attribute)]
    return None


def _has(table: Table, name: str) -> bool:
    """Whether anyone has such coefficients: a basis may hold eyelids and jaw among the others."""
    return any(f"params/{name}" in rows for rows in (table.portraits, table.targets))
