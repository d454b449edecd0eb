"""Weights on disk: safetensors with a JSON config beside it, read strictly, never pickled."""

import hashlib
import json
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from diffpc.errors import InputError
from diffpc.files import atomic_write

WEIGHTS_NAME = "model.safetensors"
CONFIG_NAME = "config.json"

MAPPED = 256 * 2**20
"""Bytes of a weight file that `own_tensors` has mapped at a time, about."""

_REMEDY = "download or copy it again"
_LISTED = 3
"""How many keys an error message names: it is to stay one readable line."""


def sha256(path: Path | str) -> str:
    """Return the file's SHA-256 as 64 hexadecimal digits.

    Raises:
        InputError: if the file is missing or cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {_REMEDY}") from error


def save_weights(folder: Path | str, state: Mapping[str, Tensor], config: Mapping[str, Any]) -> Path:
    """Write `folder/model.safetensors` and `folder/config.json`, each whole or not at all; return the former.

    The same arguments give the same bytes. Tensors keep their type: pass `half(state)` for small files.

    Raises:
        InputError: if the folder cannot be written.
    """
    path = Path(folder) / WEIGHTS_NAME
    text = json.dumps(dict(config), indent=2, sort_keys=True, allow_nan=False) + "\n"
    content = safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in state.items()})
    with atomic_write(path) as stream:
        stream.write(content)
    with atomic_write(path.with_name(CONFIG_NAME)) as stream:
        stream.write(text.encode())
    return path


def half(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the state with float16 in place of every floating-point type."""
    return _cast(state, torch.float16)


def load_config(path: Path | str) -> dict[str, Any]:
    """Return the config beside the weights at `path` (a folder or a .safetensors file in it).

    Raises:
        InputError: if it is missing or is no JSON object.
    """
    path = _weight_file(path).with_name(CONFIG_NAME)
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {_REMEDY}") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: is not valid JSON ({error}); {_REMEDY}") from error
    if not isinstance(config, dict):
        raise InputError(f"{path}: is not a JSON object; {_REMEDY}")
    return cast(dict[str, Any], config)


def load_weights(path: Path | str, dtype: torch.dtype | None = torch.float32) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file, on the CPU.

    Args:
        path: the file, or a folder with `model.safetensors` in it.
        dtype: every floating-point tensor becomes this (files ship as float16); None keeps what is on disk.

    Raises:
        InputError: if the file is missing, cut short or no safetensors file.
    """
    path = _weight_file(path)
    with _whole(path):
        state = safetensors.torch.load_file(path)
    return state if dtype is None else _cast(state, dtype)


def weight_keys(path: Path | str) -> list[str]:
    """Return the names of the tensors in a safetensors file without reading them: a quick check of the file.

    Raises:
        InputError: as `load_weights`.
    """
    path = _weight_file(path)
    with _whole(path), safe_open(path, framework="pt") as tensors:
        return list(tensors.keys())


def weight_metadata(path: Path | str) -> dict[str, str]:
    """Return the texts in a safetensors file's header.

    Raises:
        InputError: as `load_weights`.
    """
    path = _weight_file(path)
    with _whole(path), safe_open(path, framework="pt") as tensors:
        return dict(tensors.metadata() or {})


def weight_shapes(path: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file without their values, on the meta device.

    Raises:
        InputError: as `load_weights`.
    """
    path = _weight_file(path)
    with _whole(path), safe_open(path, framework="pt") as tensors:
        sizes = {name: tensors.get_slice(name).get_shape() for name in tensors.keys()}  # noqa: SIM118 - no dict
    return {name: torch.empty(size, device="meta") for name, size in sizes.items()}


def own_tensors(
    path: Path | str, names: Sequence[str], dtype: torch.dtype | None
) -> Iterator[tuple[str, Tensor]]:
    """Copy tensors out of a safetensors file, one by one, to memory of torch's own.

    In a mapped file tensors lie at odd addresses, where products add in another order: a result would depend on
    how weights are split into files. What is mapped counts as the process's memory until the file is closed, so
    it is opened again and again.

    Args:
        path: the file.
        names: of the tensors.
        dtype: every floating-point tensor becomes this; None keeps what is on disk.

    Raises:
        InputError: as `load_weights`, or if a tensor is not there.
    """
    path, left = _weight_file(path), list(reversed(names))
    while left:
        with _whole(path), safe_open(path, framework="pt") as tensors:
            mapped = 0
            while left and mapped < MAPPED:
                name = left.pop()
                value = tensors.get_tensor(name)
                mapped += value.nbytes
                value = value.to(dtype if value.is_floating_point() else None, copy=True)
                yield name, value


def load_into(module: nn.Module, path: Path | str) -> None:
    """Fill the module's parameters and buffers, all of them and nothing else; types and devices stay its own.

    Raises:
        InputError: as `load_weights`, or if keys are missing or left over, or a shape differs.
    """
    path = _weight_file(path)
    state = load_weights(path, dtype=None)
    check_state(state, module.state_dict(), path)
    module.load_state_dict(state)


def check_state(state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path | str) -> None:
    """Check that `state`, read from `path`, has the keys and shapes of `expected`.

    Raises:
        InputError: if not; the message names the first few that differ.
    """
    shapes = [
        f"{key} is {list(state[key].shape)} instead of {list(expected[key].shape)}"
        for key in expected
        if key in state and state[key].shape != expected[key].shape
    ]
    faults = {
        "missing": [key for key in expected if key not in state],
        "unexpected": [key for key in state if key not in expected],
        "wrong shape": shapes,
    }
    found = "; ".join(f"{fault}: {_few(keys)}" for fault, keys in faults.items() if keys)
    if found:
        raise InputError(
            f"{path}: the weights do not fit the model ({found}); give the file made for this model"
        )


def _few(items: list[str]) -> str:
    more = f" and {len(items) - _LISTED} more" if len(items) > _LISTED else ""
    return ", ".join(sorted(items)[:_LISTED]) + more


@contextmanager
def _whole(path: Path) -> Generator[None]:
    """Turn what reading a missing or damaged weight file raises into an InputError."""
    if not path.is_file():
        raise InputError(f"{path}: no such weight file; check the path or {_REMEDY}")
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise InputError(
            f"{path}: is not a whole safetensors file ({_cause(path, error)}); {_REMEDY}"
        ) from error


def _weight_file(path: Path | str) -> Path:
    path = Path(path)
    return path / WEIGHTS_NAME if path.is_dir() else path


def _cast(state: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    return {key: value.to(dtype) if value.is_floating_point() else value for key, value in state.items()}


def _cause(path: Path, error: Exception) -> str:
    with path.open("rb") as stream:
        if stream.read(40).startswith(b"version https://git-lfs"):
            return "it is a Git LFS pointer: run `git lfs pull`"
    return str(error)


def fingerprint(*modules: nn.Module | None) -> str:
    """A sha256 over all weights: a network may have come from any file, and have been changed since."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in module.state_dict().items() if module is not None else ():
            digest.update(f"{name} {list(value.shape)} ".encode())
            digest.update(value.detach().cpu().contiguous().numpy())
    return digest.hexdigest()
