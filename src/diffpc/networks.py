"""A network's files -> the network: made without memory, then given its tensors, so that they are there once."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers import ModelMixin
from torch import Tensor, nn

from diffpc.errors import InputError
from diffpc.libraries import explained
from diffpc.weights import check_state, own_tensors, weight_keys, weight_shapes

ALIGNMENT = 64
"""Bytes; torch's own memory begins at multiples of it."""

STEMS = ("diffusion_pytorch_model", "model")
"""Names of weight files: diffusers', transformers'."""

VARIANT = "fp16"
"""The half-precision files that are published beside, or instead of, the others."""

_REMEDY = "download or copy the model again"

N = TypeVar("N", bound=ModelMixin)


@dataclass(frozen=True)
class Stored:
    """Where a tensor is."""

    path: Path
    """A safetensors file."""
    name: str
    """In that file."""


@dataclass(frozen=True)
class WeightFiles:
    """The weights in a component's folder."""

    paths: tuple[Path, ...]
    """One file, or all shards."""
    variant: str | None
    """What the libraries call them; None: they are the plain ones."""

    def tensors(self) -> dict[str, Stored]:
        """Every tensor by its name."""
        return {name: Stored(path, name) for path in self.paths for name in weight_keys(path)}


def weight_files(folder: Path) -> WeightFiles:
    """The weights in a component's folder: plain files go before half-precision ones, an index before a file.

    Raises:
        InputError: if there are none, or a shard is missing.
    """
    for variant in (None, VARIANT):
        for stem in STEMS:
            index = folder / f"{stem}.safetensors.index{_dotted(variant)}.json"
            if index.is_file():
                return WeightFiles(_shards(index), variant)
            path = folder / f"{stem}{_dotted(variant)}.safetensors"
            if path.is_file():
                return WeightFiles((path,), variant)
    raise InputError(f"{folder}: has no .safetensors file of a name that is known; {_REMEDY}")


def load_network(form: type[N], folder: Path, dtype: torch.dtype) -> N:
    """A network of diffusers' layout from its folder.

    Args:
        form: its class.
        folder: with config.json and weights.
        dtype: of the network; numbers of other types are converted.

    Raises:
        InputError: if files are missing or damaged, or do not belong to the config.
    """
    with explained(str(folder), _REMEDY):
        config = _configured(form).load_config(folder, local_files_only=True)
    return filled(form, config, weight_files(folder).tensors(), dtype)


def filled(form: type[N], config: Mapping[str, Any], found: Mapping[str, Stored], dtype: torch.dtype) -> N:
    """A network with tensors from files; every tensor is read once and never twice in memory.

    Args:
        form: its class.
        config: its sizes.
        found: by the network's own names; exactly those that it has.
        dtype: of the network.

    Raises:
        InputError: if tensors are missing or left over, or a shape differs.
    """
    place = next(iter(found.values())).path if found else Path(form.__name__)
    with explained(str(place), _REMEDY), torch.device("meta"):
        network: N = _configured(form).from_config(dict(config))
    _check(found, network, place)
    network.load_state_dict(_read(found, dtype), assign=True)
    return network.eval()


def take_out_of_files(network: nn.Module) -> None:
    """Copy weights that lie in mapped files, at odd addresses, where products add in another order.

    So a portrait does not depend on how the weights are split into files. For networks that a library read.
    """
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.data_ptr() % ALIGNMENT:
            tensor.data = tensor.data.clone()


def _configured(form: type[ModelMixin]) -> Any:
    """Any: the library declares the two halves of its networks apart."""
    return form


def _check(found: Mapping[str, Stored], network: nn.Module, place: Path) -> None:
    shapes = {path: weight_shapes(path) for path in {one.path for one in found.values()}}
    state = {name: shapes[one.path][one.name] for name, one in found.items()}
    check_state(state, network.state_dict(), place)


def _read(found: Mapping[str, Stored], dtype: torch.dtype) -> dict[str, Tensor]:
    """File by file, in the order in which they lie there."""
    files: defaultdict[Path, dict[str, str]] = defaultdict(dict)
    for name, one in found.items():
        files[one.path][one.name] = name
    return {
        names[inside]: value
        for path, names in files.items()
        for inside, value in own_tensors(path, list(names), dtype)
    }


def _shards(index: Path) -> tuple[Path, ...]:
    """The files that an index names, which may come from anyone: names have no folders."""
    try:
        names = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{index}: is not an index of weight files ({error}); {_REMEDY}") from error
    odd = [name for name in names if not isinstance(name, str) or name != Path(name).name]
    if odd or not names:
        raise InputError(f"{index}: names {odd[:1] or 'no file'}, expected files beside it; {_REMEDY}")
    paths = tuple(index.with_name(name) for name in sorted(names))
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise InputError(f"{index.parent}: {missing[0]} is missing; {_REMEDY}")
    return paths


def _dotted(variant: str | None) -> str:
    return f".{variant}" if variant else ""
