"""What a PNG records of its making, and the same request again from it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from diffpc.distilled import SCHEDULES
from diffpc.errors import InputError, UsageError
from diffpc.external.digests import digest
from diffpc.face3d.written import is_written
from diffpc.generate.detail import NAMES, Detail, remaining
from diffpc.generate.prepare import Job
from diffpc.generate.request import Request
from diffpc.memory import SMALLER
from diffpc.pipeline import PortraitSettings
from diffpc.provenance import Provenance, read_settings

_HUB_NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*")


@dataclass(frozen=True)
class Replay:
    """A request taken from a PNG."""

    request: Request
    detail: Detail
    """What the request's options cannot say."""
    weights: dict[str, str]
    """The weight files that drew it: name -> sha256."""
    notes: tuple[str, ...]
    """What may make the result differ, one sentence each."""


def recorded(
    job: Job, drawn: PortraitSettings, device: str, dtype: str, fast: str | None = None
) -> dict[str, Any]:
    """Everything but prompt and seed that draws one portrait again: values, and files by name and sha256.

    Names only, no folders: whoever gets the picture can read it.
    """
    asked = job.request
    record = {
        "reference": [_mark(photo.path) for photo in job.references],
        "identity": _mark(asked.identity) if asked.identity else None,
        "target": _mark(job.target.path) if job.target else None,
        "expression": _mark(job.expression.path) if job.expression else asked.expression,
        "pose": asked.pose,
        "place": asked.place,
        "model": _portable(asked.model),
        "base": _portable(asked.base),
        "unet": _portable(asked.unet),
        "vae": _portable(asked.vae),
        "lora": [_mark(lora.path) for lora in asked.changes.loras],
        "lora_weights": [lora.weight for lora in asked.changes.loras],
        "fast": fast,
        "memory": sorted(mode for mode in asked.memory if mode in SMALLER),
        "steps": drawn.steps,
        "guidance": drawn.guidance,
        "strength": drawn.strength,
        "size": drawn.size,
        "face_pass": drawn.face_pass,
        "compile": drawn.compile,
        "face": asked.face,
        "target_face": asked.target_face,
        "device": device,
        "dtype": dtype,
    }
    return record | job.detail.recorded()


def replayed(request: Request) -> Replay:
    """The request that drew `request.replay`; what `request` gives itself goes first.

    Photos that are not given are looked for by name beside the PNG and in the current folder.

    Raises:
        UsageError: if the model is not here.
        InputError: if the PNG has no usable settings, or a photo is not here or another one.
    """
    if request.replay is None:
        return Replay(request, Detail(), {}, ())
    path = request.replay
    source = read_settings(path)
    old = _checked(source, path)
    if old["frame"] is not None:
        raise InputError(
            f"{path}: is frame {old['frame']} of a film, drawn before frames had their pose with them; "
            "run the film's command again"
        )
    loras = [lora.path for lora in request.changes.loras]
    pairs = [*zip(_given(request), _people(old), strict=False), *zip(loras, old["lora"], strict=False)]
    notes = [
        f"{given} is not the file {name} that {path} was made from"
        for given, (name, wanted) in pairs
        if digest(given) != wanted
    ]
    new = replace(
        request,
        **_photos(request, old, path),
        prompt=source.prompt if request.prompt is None else request.prompt,
        seed=source.seed if request.seed is None else request.seed,
        output=request.output or path.with_name(f"{path.stem}-replay.png"),
        model=request.model or _located(old["model"], "--model", path),
        base=request.base or _located(old["base"], "--base", path),
        **_changes(request, old, path),
        **_plain(request, old),
    )
    others = (request.model, request.base, request.unet, request.vae, request.lora)
    weights = {} if any(others) else source.weights
    return Replay(new, remaining(request, old), weights, tuple(notes))


def _given(request: Request) -> tuple[Path, ...]:
    return (request.identity,) if request.identity else request.reference


def _people(old: dict[str, Any]) -> list[list[str]]:
    return [old["identity"]] if old["identity"] else old["reference"]


def _photos(request: Request, old: dict[str, Any], path: Path) -> dict[str, Any]:
    """The photos and the pose: a target excludes a pose, whichever of them is given now."""
    posed = request.target or request.pose
    target, expression = old["target"], old["expression"]
    chosen: dict[str, Any] = {"expression": request.expression or expression}
    if not request.reference and not request.identity:
        if not old["reference"] and not old["identity"]:
            raise InputError(
                f"{path}: does not say what its person was known by; pass --reference PHOTO or --identity FILE"
            )
        chosen["reference"] = tuple(_found(mark, "--reference", path) for mark in old["reference"])
        chosen["identity"] = _found(old["identity"], "--identity", path) if old["identity"] else None
    if isinstance(expression, list) and not request.expression:
        chosen["expression"] = str(_found(expression, "--expression", path))
    if not posed:
        chosen["target"] = _found(target, "--target", path) if target else None
        chosen["pose"] = old["pose"] and tuple(old["pose"])
        chosen["target_face"] = old["target_face"] if request.target_face is None else request.target_face
    if request.place is None and not request.target:
        chosen["place"] = old["place"] and tuple(old["place"])
    return chosen


def _changes(request: Request, old: dict[str, Any], path: Path) -> dict[str, Any]:
    """What of the base is replaced; a schedule belongs to its weights, and goes where they go."""
    places = {name: _located(old[name], f"--{name}", path) for name in ("unet", "vae") if old[name]}
    found = {name: getattr(request, name) or Path(place) for name, place in places.items() if place}
    weights = old["lora_weights"] or [1.0] * len(old["lora"])
    marks = zip(old["lora"], weights, strict=True)
    loras = tuple(f"{_found(mark, '--lora', path)}={weight!r}" for mark, weight in marks if not request.lora)
    kept = not (request.unet or request.lora or request.base)
    return {**found, "lora": request.lora or loras, "fast": request.fast or (old["fast"] if kept else None)}


def _plain(request: Request, old: dict[str, Any]) -> dict[str, Any]:
    """The options that are values and no files."""
    names = ["steps", "guidance", "strength", "face_pass", "compile", "device", "dtype"]
    names += [] if request.identity else ["face"]
    values = {name: old[name] if getattr(request, name) is None else getattr(request, name) for name in names}
    return {
        **values,
        "memory": request.memory or tuple(old["memory"]),
        "size": request.size or tuple(old["size"]),
    }


def _mark(path: Path) -> list[str]:
    return [path.name, digest(path)]


def _portable(model: str | Path | None) -> str | None:
    """A model's name without the folders it lies in."""
    path = Path(model or "")
    return path.name if model and path.exists() else model and str(model)


def _found(mark: list[str], option: str, png: Path) -> Path:
    """The file of that name and content, beside the PNG or in the current folder."""
    name, wanted = mark
    here = [path for path in (png.parent / name, Path(name)) if path.is_file()]
    if not here:
        raise InputError(f"{png}: was made with {name}, which is not beside it or here; pass {option} {name}")
    same = [path for path in here if digest(path) == wanted]
    if not same:
        raise InputError(f"{here[0]}: is not the file that {png} was made with; pass {option} to use another")
    return same[0]


def _located(model: str | None, option: str, png: Path) -> str | None:
    if model is None or model == "tiny" or _HUB_NAME.fullmatch(model):
        return model
    for path in (png.parent / model, Path(model)):
        if path.exists():
            return str(path)
    raise UsageError(f"{png}: was drawn with {model}, which is not beside it or here; pass {option}")


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _name(value: Any) -> bool:
    return isinstance(value, str) and value == Path(value).name and value not in ("", "..")


def _is_mark(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and _name(value[0]) and isinstance(value[1], str)


def _none_or(check: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or check(value)


def _list_of(check: Callable[[Any], bool], length: int | None = None) -> Callable[[Any], bool]:
    return lambda value: (
        isinstance(value, list) and len(value) == (length or len(value)) and all(map(check, value))
    )


def _is_frame(value: list[Any]) -> bool:
    return _is_mark(value[:2]) and len(value) == 3 and _whole(value[2])


def _model(value: Any) -> bool:
    return isinstance(value, str) and bool(_name(value) or _HUB_NAME.fullmatch(value))


_CHECKS: dict[str, Callable[[Any], bool]] = {
    "reference": _list_of(_is_mark),
    "identity": _none_or(_is_mark),
    "target": _none_or(_is_mark),
    "expression": _none_or(lambda value: _name(value) or _is_mark(value)),
    "pose": _none_or(_list_of(_number, 3)),
    "place": _none_or(_list_of(_number, 3)),
    "model": _none_or(_model),
    "base": _none_or(_model),
    "unet": _none_or(_name),
    "vae": _none_or(_name),
    "lora": _list_of(_is_mark),
    "lora_weights": _list_of(_number),
    "memory": _list_of(lambda value: value in SMALLER),
    "fast": _none_or(lambda value: value in SCHEDULES),
    "steps": _whole,
    "guidance": _number,
    "strength": _number,
    "size": _list_of(_whole, 2),
    "face_pass": lambda value: isinstance(value, str),
    "compile": lambda value: isinstance(value, bool),
    "face": _none_or(_whole),
    "target_face": _none_or(_whole),
    "device": lambda value: isinstance(value, str),
    "dtype": lambda value: isinstance(value, str),
    "frame": _none_or(_whole),
    "faces": _list_of(_none_or(_whole)),
    "expression_face": _none_or(_whole),
    "scores": lambda value: (
        isinstance(value, dict) and all(map(_number, cast(dict[str, Any], value).values()))
    ),
    "params": _none_or(is_written),
    "film": lambda value: isinstance(value, list) and _is_frame(cast(list[Any], value)),
}
"""What `recorded` writes, as JSON gives it back. The PNG may come from anyone: file names have no folders."""


_SINCE: dict[str, Any] = {
    "identity": None,
    "face_pass": "off",
    "compile": False,
    "frame": None,
    "unet": None,
    "vae": None,
    "lora_weights": [],
    "fast": None,
    "memory": [],
}
"""What PNGs of earlier versions do not say, and what was the case then."""


def _checked(source: Provenance, path: Path) -> dict[str, Any]:
    settings = {**_SINCE, **source.settings}
    known = set(_CHECKS) - (set(NAMES) - set(settings))
    wrong = sorted(set(settings) ^ known) or [name for name in known if not _CHECKS[name](settings[name])]
    if not wrong:
        pairs = {"faces": "reference", "lora_weights": "lora"}
        wrong = [
            one for one, other in pairs.items() if len(settings.get(one, [])) not in (0, len(settings[other]))
        ]
    if wrong:
        raise InputError(
            f"{path}: its Diff-PC settings are not usable ({wrong[0]}); give a PNG that this version of "
            "`diffpc generate` wrote"
        )
    return settings
