"""A dropped PNG -> the controls: what its record says, and what it cannot say."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace
from io import BytesIO
from typing import Any, TypeAlias, cast

from diffpc.distilled import SCHEDULES
from diffpc.errors import InputError
from diffpc.face3d.predict import Placement
from diffpc.face3d.presets import EXPRESSIONS
from diffpc.face3d.written import is_written, read_written
from diffpc.memory import SMALLER
from diffpc.provenance import settings_in
from diffpc.serve.note import Making
from diffpc.serve.page.controls import ExpressionSliders, PoseSliders, within
from diffpc.serve.page.sitting import (
    EXPRESSION,
    REFERENCE,
    REPLAYED,
    TARGET,
    Look,
    Photo,
    Sitting,
    Source,
    with_references,
    with_source,
)

_HEADINGS = {"unet": "the UNet", "vae": "the VAE"}
"""Folder of a weight file's name -> the part that it is of."""

Sliders: TypeAlias = tuple[PoseSliders, ExpressionSliders]


@dataclass(frozen=True)
class Mark:
    """A photo, an identity file or a LoRA file that the record names."""

    name: str
    digest: str
    """sha256 of its file."""
    face: int | None = None
    """The face that was chosen in a photo; None: it has one that stands out."""


@dataclass(frozen=True)
class Again:
    """The settings of a portrait, checked: the PNG may come from anyone."""

    plain: dict[str, Any]
    """Prompt, seed, steps, guidance and strength; one portrait."""
    references: tuple[Mark, ...]
    target: Mark | None
    expression: str | Mark | None
    pose: tuple[float, ...] | None
    """Yaw, pitch, roll in degrees."""
    place: tuple[float, ...] | None
    scores: dict[str, float] = field(default_factory=dict[str, float])
    lora: tuple[Mark, ...] = ()
    params: dict[str, Any] | None = None
    """Expression and pose in numbers, as `face3d.written` has them."""
    identity: Mark | None = None
    """An identity file, instead of references."""
    weights: dict[str, str] = field(default_factory=dict[str, str])
    """The weight files that drew it, LoRA files too: name -> sha256."""
    fast: str | None = None
    """Of `distilled.SCHEDULES`."""
    memory: tuple[str, ...] = ()
    """Of `memory.SMALLER`."""


def read(data: bytes, name: str) -> Again:
    """The settings in a PNG.

    Raises:
        InputError: if there are none, or they are not usable.
    """
    source = settings_in(BytesIO(data), name)
    old = source.settings
    try:
        return Again(
            plain={
                "prompt": source.prompt,
                "seed": _whole(source.seed),
                "count": 1,
                "steps": _whole(old["steps"]),
                "guidance": _float(old["guidance"]),
                "strength": _float(old["strength"]),
            },
            references=_references(old),
            target=_mark(old["target"], old.get("target_face")) if old["target"] else None,
            expression=_expression(old["expression"], old.get("expression_face")),
            pose=_three(old["pose"]),
            place=_three(old["place"]),
            params=_params(old.get("params")),
            identity=_mark(old["identity"]) if old.get("identity") else None,
            lora=tuple(_mark(one) for one in old.get("lora", [])),
            weights=source.weights,
            fast=_one_of(SCHEDULES, old["fast"]) if old.get("fast") else None,
            memory=tuple(_one_of(SMALLER, mode) for mode in old.get("memory", [])),
            scores={str(key): _float(value) for key, value in dict(old.get("scores", {})).items()},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{name}: its Diff-PC settings are not usable ({str(error)[:80]}). Drop a PNG that this version wrote."
        ) from error


def returned(again: Again, sitting: Sitting, look: Look) -> tuple[Sitting, Sliders, tuple[str, ...]]:
    """The page with a record's pose and expression.

    Returns:
        The sitting, its sliders, and which photos must be given, one phrase each.

    Raises:
        UsageError: if the model cannot show the expression.
    """
    sitting = _choosing(again, sitting, look)
    missing = [f"{mark.name} under “Who”" for mark in again.references if not _find(sitting, mark)]
    if again.identity and not (sitting.filed and sitting.filed.mark[1] == again.identity.digest):
        missing.append(f"{again.identity.name} under “Who”")
    target, expression = (_found(sitting, mark, look) for mark in (again.target, _photo_of(again)))
    if again.target and not target:
        missing.append(f"{again.target.name} as the target photo")
    if isinstance(again.expression, Mark) and not expression:
        missing.append(f"{again.expression.name} as the expression photo")
    if again.params:
        params = read_written(again.params, look.eyes.model, "the PNG")
        sitting = with_source(sitting, Source(REPLAYED, look.start(params)), "pose", "expression")
        return sitting, sitting.sliders, tuple(missing)
    base = look.reference(sitting)
    sitting = with_source(sitting, look.pose("frontal") if again.pose else target or base, "pose")
    sitting = with_source(sitting, _acting(again, look) or expression or target or base, "expression")
    posing = _posing(again, look) if again.pose else sitting.pose.start.pose
    return sitting, (posing, sitting.expression.start.expression), tuple(missing)


def styled(again: Again, making: Making) -> tuple[str | None, str]:
    """The style that draws with a record's LoRA files, None for no style; and what to say if there is none."""
    wanted = [mark.digest for mark in again.lora]
    for style in (None, *making.styles):
        if [digest for _, digest in making.loras(style)] == wanted:
            return style, ""
    files = ", ".join(mark.name for mark in again.lora) or "no LoRA"
    return None, f" It was drawn with {files}, which is no style here: the portrait will look different."


def differing(again: Again, making: Making) -> str:
    """A sentence on what else draws here than drew a record's portrait; none where it is the same, or not recorded.

    What is in a file counts, not its name. LoRA files are in `styled`.
    """
    drew, draws = _by_part(again.weights), _by_part(making.hashes)
    other = [part for part in drew if drew[part] != draws[part]] if again.weights else []
    for option, there, here in (
        ("--fast", again.fast, making.fast),
        ("--memory", " ".join(sorted(again.memory)), " ".join(sorted(making.memory))),
    ):
        if (there or None) != (here or None):
            other.append(f"{option} ({there or 'none'} there, {here or 'none'} here)")
    return f" Not the same here: {', '.join(other)}; the portrait will look different." if other else ""


def _by_part(weights: Mapping[str, str]) -> dict[str, list[str]]:
    """Weight file -> sha256 as hashes of each part."""
    found: dict[str, list[str]] = {"the UNet": [], "the VAE": [], "the rest of the weights": []}
    for name, digest in weights.items():
        heading = name.removeprefix("base/").partition("/")[0]
        if heading != "lora":
            found[_HEADINGS.get(heading, "the rest of the weights")].append(digest)
    return {part: sorted(digests) for part, digests in found.items()}


def said(name: str, missing: Sequence[str], remark: str = "") -> str:
    """What a visitor reads after a replay.

    Args:
        name: of the PNG.
        missing: photos that must be given.
        remark: from `styled` and `differing`.
    """
    text = f"The settings of {name} are back in the controls.{remark}"
    if not missing:
        return text
    return f"{text} A PNG names its files but does not hold them: drop {', and '.join(missing)}."


def _posing(again: Again, look: Look) -> PoseSliders:
    place = again.place or astuple(Placement())
    return within(PoseSliders(*(again.pose or ()), *place), look.eyes.settings.framing)


def _acting(again: Again, look: Look) -> Source | None:
    """The expression of a record that has one in words or numbers."""
    if again.scores:
        params = look.eyes.model.expressed(again.scores)
        return Source(REPLAYED, look.start(params), scores=again.scores)
    return look.expression(again.expression) if isinstance(again.expression, str) else None


def _photo_of(again: Again) -> Mark | None:
    return again.expression if isinstance(again.expression, Mark) else None


def _choosing(again: Again, sitting: Sitting, look: Look) -> Sitting:
    """The page with the record's faces chosen: in the photos of the person that are there, and in all to come."""
    places = [
        *((REFERENCE, mark) for mark in again.references),
        (TARGET, again.target),
        (EXPRESSION, _photo_of(again)),
    ]
    recalled = {(place, mark.digest): mark.face for place, mark in places if mark and mark.face is not None}
    sitting = replace(sitting, recalled=recalled)
    photos = tuple(sitting.arrived(photo, REFERENCE) for photo in sitting.references)
    return sitting if photos == sitting.references else with_references(sitting, photos, look)


def _found(sitting: Sitting, mark: Mark | None, look: Look) -> Source | None:
    """A photo of the page as a source, if it is the one that the record names."""
    photo = _find(sitting, mark) if mark else None
    return look.read(photo.choosing(mark.face)) if photo and mark else None


def _find(sitting: Sitting, mark: Mark) -> Photo | None:
    own = [source.photo for source in (sitting.pose_photo, sitting.expression_photo) if source]
    return next((one for one in (*sitting.references, *own) if one and one.digest == mark.digest), None)


def _references(old: dict[str, Any]) -> tuple[Mark, ...]:
    marks = cast("list[object]", old["reference"])
    faces = cast("list[object]", old.get("faces") or [old.get("face")] * len(marks))
    return tuple(_mark(mark, face) for mark, face in zip(marks, faces, strict=True))


def _expression(value: object, face: object) -> str | Mark | None:
    if value is None or (isinstance(value, str) and value in EXPRESSIONS):
        return value
    return _mark(value, face)


def _params(value: object) -> dict[str, Any] | None:
    if value is not None and not is_written(value):
        raise ValueError("a 3D face of another form")
    return cast("dict[str, Any] | None", value)


def _one_of(known: Collection[str], value: object) -> str:
    if not isinstance(value, str) or value not in known:
        raise ValueError("a way of drawing that is unknown")
    return value


def _mark(value: object, face: object = None) -> Mark:
    name, digest = cast("list[object]", value)
    if not isinstance(name, str) or not isinstance(digest, str):
        raise ValueError("a photo without a name")
    return Mark(name[-80:], digest, None if face is None else _whole(face))


def _three(value: object) -> tuple[float, ...] | None:
    if value is None:
        return None
    first, second, third = cast("list[object]", value)
    return _float(first), _float(second), _float(third)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError("not a whole number")
    return value


def _float(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e6:
        raise ValueError("not a number")
    return float(value)
