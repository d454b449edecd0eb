"""An adapter as one file: its tensors, and in the metadata what rebuilds its networks and what they expect around them.

Metadata: one entry, "diffpc", of JSON with the keys format, parts (name -> class and config), faces and defaults.
Tensors: the networks' own names behind "id_encoder.", "id_ctrl.", "id_injectors." and, where there is one,
"id_attention.". One entry, because safetensors writes several in any order, and the same adapter is to give the
same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from diffusers import ModelMixin
from safetensors import SafetensorError
from torch import Tensor

from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.decoupled import IDAttention
from diffpc.diffusion.injector import IDInjectors
from diffpc.errors import InputError, UsageError
from diffpc.files import atomic_path
from diffpc.identity.forms import FORMS
from diffpc.pipeline import DiffPCPipeline, PortraitSettings
from diffpc.settings import FaceSettings, from_dict
from diffpc.weights import check_state, own_tensors, weight_keys, weight_metadata, weight_shapes

SUFFIX = ".safetensors"
"""Of an adapter's file."""

FORMAT = 1
"""Of the metadata."""

ENTRY = "diffpc"
"""Of the metadata."""

MAX_DESCRIPTION = 256 * 2**10
"""Characters of the metadata; SDXL's largest adapter has about 12,000."""

ADAPTER: dict[str, tuple[type[ModelMixin], ...]] = {
    "id_encoder": tuple(FORMS.values()),
    "id_ctrl": (IDCtrl,),
    "id_injectors": (IDInjectors,),
}
"""What belongs to Diff-PC and the forms that it has; everything else is the base's."""

OPTIONAL: dict[str, tuple[type[ModelMixin], ...]] = {"id_attention": (IDAttention,)}
"""The same for what not every adapter has."""

_REMEDY = "download or copy it again"
_OTHER = "use the diffpc that wrote it"

_MISFITS = (TypeError, ValueError, RuntimeError, LookupError, AttributeError, ArithmeticError, AssertionError)
"""What constructors, the libraries' too, raise for values that do not go together."""


@dataclass(frozen=True)
class StoredAdapter:
    """An adapter, and what a pipeline with it needs to know."""

    parts: dict[str, ModelMixin]
    """Its networks by the names of the pipeline's components."""
    faces: dict[str, Any]
    """Fields of `settings.FaceSettings`."""
    defaults: dict[str, Any]
    """Fields of `pipeline.PortraitSettings`."""


@dataclass(frozen=True)
class Part:
    """How to make one network."""

    form: type[ModelMixin]
    """One of `ADAPTER` or `OPTIONAL`."""
    config: dict[str, Any]
    """Its arguments."""


@dataclass(frozen=True)
class Description:
    """What an adapter's file says of itself."""

    parts: dict[str, Part]
    """By the names of the pipeline's components."""
    faces: dict[str, Any]
    """Fields of `settings.FaceSettings`."""
    defaults: dict[str, Any]
    """Fields of `pipeline.PortraitSettings`."""


def save_adapter(pipeline: DiffPCPipeline, path: Path | str) -> None:
    """Write what Diff-PC adds to a base, for `read_adapter`; the same adapter gives the same bytes.

    Args:
        pipeline: its networks are written in the number types that they have.
        path: ends in .safetensors.

    Raises:
        UsageError: if the path ends otherwise, or the pipeline's settings are incomplete.
        InputError: if it cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: an adapter is one file; choose a name that ends in {SUFFIX}")
    parts = {name: getattr(pipeline, name) for name in (*ADAPTER, *OPTIONAL)}
    parts = {name: part for name, part in parts.items() if part is not None}
    faces, defaults = dict(pipeline.config["faces"]), dict(pipeline.config["defaults"])
    _check_settings(faces, defaults)
    described = {"format": FORMAT, "parts": {name: _description(part) for name, part in parts.items()}}
    described |= {"faces": faces, "defaults": defaults}
    text = json.dumps(described, sort_keys=True, allow_nan=False)
    tensors = {key: value.detach().cpu().contiguous() for key, value in _states(parts).items()}
    with atomic_path(path) as temporary:
        try:
            safetensors.torch.save_file(tensors, temporary, metadata={ENTRY: text})
        except SafetensorError as error:
            raise InputError(
                f"{path}: cannot be written ({error}); make room or choose another place"
            ) from error


def read_adapter(path: Path | str, dtype: torch.dtype) -> StoredAdapter:
    """The adapter of a file that `save_adapter` wrote, on the CPU.

    Its networks are made without memory and then get the file's tensors one by one, so that there is never more
    of them than once.

    Args:
        path: the file.
        dtype: of the networks; the file's numbers are converted.

    Raises:
        InputError: if the file is missing, damaged, of another kind or version, or its tensors are not those of
            the networks that it describes.
    """
    path = Path(path)
    described = describe_adapter(path)
    parts = {name: _built(path, name, part) for name, part in described.parts.items()}
    check_state(weight_shapes(path), _states(parts), path)
    state: dict[str, Tensor] = {}
    for key, value in own_tensors(path, list(_states(parts)), dtype):
        if not value.is_floating_point():
            raise InputError(f"{path}: {key} is {value.dtype}, expected floating point; {_REMEDY}")
        state[key] = value
    for name, part in parts.items():
        part.load_state_dict({key: state[f"{name}.{key}"] for key in part.state_dict()}, assign=True)
        part.eval()
    return StoredAdapter(parts, described.faces, described.defaults)


def describe_adapter(path: Path | str) -> Description:
    """The metadata of an adapter's file, checked; no tensor is read.

    Raises:
        InputError: as `read_adapter`.
    """
    path = Path(path)
    text = weight_metadata(path).get(ENTRY)
    if text is None:
        raise InputError(f"{path}: holds no adapter of Diff-PC; give a file that `diffpc export` wrote")
    values = _json(text, path)
    if values.get("format") != FORMAT:
        raise InputError(f"{path}: has format {values.get('format')!r}, expected {FORMAT}; {_OTHER}")
    for key in ("parts", "faces", "defaults"):
        if not isinstance(values.get(key), dict):
            raise InputError(f"{path}: its description has no {key}; {_REMEDY}")
    try:
        _check_settings(values["faces"], values["defaults"])
    except UsageError as error:
        raise InputError(f"{path}: {error}; {_OTHER}") from error
    return Description(_parts(values["parts"], path), values["faces"], values["defaults"])


def _description(part: ModelMixin) -> dict[str, Any]:
    """Class and config; what begins with an underscore is of the library, and may be a path of this machine."""
    config = {key: value for key, value in part.config.items() if not key.startswith("_")}
    return {"class": type(part).__name__, "config": config}


def _states(parts: Mapping[str, ModelMixin]) -> dict[str, Tensor]:
    return {
        f"{name}.{key}": value for name, part in parts.items() for key, value in part.state_dict().items()
    }


def _check_settings(faces: Mapping[str, Any], defaults: Mapping[str, Any]) -> None:
    from_dict(FaceSettings, faces, "faces")
    from_dict(PortraitSettings, defaults, "defaults")


def _json(text: str, path: Path) -> dict[str, Any]:
    if len(text) > MAX_DESCRIPTION:
        raise InputError(f"{path}: its description has {len(text)} characters, expected less; {_REMEDY}")
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: its description is not valid JSON ({error}); {_REMEDY}") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: its description is not a JSON object; {_REMEDY}")
    return cast(dict[str, Any], values)


def _parts(values: Mapping[str, Any], path: Path) -> dict[str, Part]:
    """Every part is there, and none is unknown."""
    for name in (*ADAPTER, *values):
        if name not in values or name not in ADAPTER | OPTIONAL:
            fault = "unknown" if name in values else "missing"
            raise InputError(f"{path}: part {name!r} is {fault}; {_OTHER}")
    tensors = len(weight_keys(path))
    return {name: _part(name, value, path, tensors) for name, value in values.items()}


def _part(name: str, value: Any, path: Path, tensors: int) -> Part:
    """A known form, and not longer than the file has tensors for."""
    if not isinstance(value, dict) or not isinstance(cast(dict[str, Any], value).get("config"), dict):
        raise InputError(f"{path}: part {name!r} has no config; {_REMEDY}")
    described = cast(dict[str, Any], value)
    found, forms = described.get("class"), {form.__name__: form for form in (ADAPTER | OPTIONAL)[name]}
    if not isinstance(found, str) or found not in forms:
        raise InputError(f"{path}: {name} is of {found!r}, expected one of: {', '.join(forms)}; {_OTHER}")
    if any(count > tensors for count in _lengths(described["config"])):
        raise InputError(f"{path}: {name} has more layers than the file has tensors; {_REMEDY}")
    return Part(forms[found], described["config"])


def _lengths(value: Any, key: str = "") -> Iterator[int]:
    """What building a network from a config loops over: its lists, and its numbers of layers."""
    if isinstance(value, dict):
        for name, one in cast(dict[str, Any], value).items():
            yield from _lengths(one, name)
    elif isinstance(value, list):
        values = cast(list[Any], value)
        yield len(values)
        for one in values:
            yield from _lengths(one, key)
    elif isinstance(value, int) and "layers" in key:
        yield value


def _built(path: Path, name: str, part: Part) -> ModelMixin:
    """The network without memory for its weights."""
    try:
        with torch.device("meta"):
            return part.form(**part.config)
    except _MISFITS as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"{path}: {name} cannot be built ({reason[:160]}); {_OTHER}") from error
