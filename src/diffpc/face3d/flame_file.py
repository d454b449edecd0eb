"""FLAME's files -> FlameData: the official pickles, read without running what they hold, and safetensors.

`generic_model.pkl` (FLAME 2020) and `FLAME_masks.pkl` come from flame.is.tue.mpg.de and need a registration;
the two eyelid files come with SMIRK. The pickles are Python 2's and hold chumpy and scipy objects; neither
library is imported.
"""

from __future__ import annotations

import pickle
from dataclasses import fields
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from diffpc.errors import InputError
from diffpc.face3d.flame import FlameData
from diffpc.files import atomic_write

N_SHAPE, N_EXPRESSION, N_MODEL_BASIS = 300, 50, 400
"""shapedirs holds 300 shape and 100 expression directions; SMIRK uses the first 50 of the latter."""

N_JOINTS = 5

_ROOT_PARENT = 2**32 - 1
# What a truncated or scrambled pickle makes the unpickler raise.
_UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    AttributeError,
    IndexError,
    KeyError,
    TypeError,
    ValueError,
    OverflowError,
    MemoryError,
)


def read_official(model: Path, masks: Path, left_eyelid: Path, right_eyelid: Path) -> FlameData:
    """FLAME 2020's `generic_model.pkl` and `FLAME_masks.pkl`, SMIRK's `l_eyelid.npy` and `r_eyelid.npy`.

    Raises InputError where a file is absent or broken, holds anything but arrays, or has unexpected shapes.
    """
    array = _ArrayReader(model)
    template = array("v_template", (None, 3))
    n_vertices = len(template)
    basis = array("shapedirs", (n_vertices, 3, N_MODEL_BASIS))
    parents = array("kintree_table", (2, N_JOINTS))[0].astype(np.int64)
    mask = _ArrayReader(masks)("face", (None,))
    eyelids = [_read_eyelid(path, n_vertices) for path in (left_eyelid, right_eyelid)]
    data = FlameData(
        template=_real(template),
        shape_basis=_real(basis[..., :N_SHAPE]),
        expression_basis=_real(basis[..., N_SHAPE : N_SHAPE + N_EXPRESSION]),
        pose_basis=_real(array("posedirs", (n_vertices, 3, 9 * (N_JOINTS - 1)))),
        eyelid_basis=_real(np.stack(eyelids)),
        joint_regressor=_real(array("J_regressor", (N_JOINTS, n_vertices))),
        skinning=_real(array("weights", (n_vertices, N_JOINTS))),
        parents=_whole(np.where(parents == _ROOT_PARENT, -1, parents)),
        faces=_whole(array("f", (None, 3))),
        face_vertices=_whole(np.unique(mask)),
    )
    _check(data, model)
    return data


def save_flame(data: FlameData, path: Path) -> None:
    """Writes safetensors, float32 and int32, renamed when whole: no reader sees a half-written file."""
    tensors = {field.name: getattr(data, field.name).contiguous() for field in fields(data)}
    with atomic_write(path) as stream:
        stream.write(save(tensors))


def load_flame(path: Path) -> FlameData:
    """What `save_flame` wrote. Raises InputError where the file is absent, broken or of another kind."""
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: cannot be read ({error}); convert FLAME's official files again") from error
    names = {field.name for field in fields(FlameData)}
    if set(tensors) != names:
        differing = ", ".join(sorted(names ^ set(tensors)))
        raise InputError(f"{path}: not a converted FLAME head ({differing} differ); convert it again")
    data = FlameData(**tensors)
    _check(data, path)
    return data


class _Inert:
    """Stands in for an object of a library that is not imported: keeps its state, does nothing."""

    state: dict[str, Any]

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.state = state


class _Chumpy(_Inert):
    def to_array(self) -> np.ndarray:
        return np.asarray(self.state["x"])


class _SparseColumns(_Inert):
    def to_array(self) -> np.ndarray:
        state = self.state
        shape = state["_shape"] if "_shape" in state else state["shape"]
        dense = np.zeros(shape)
        columns = np.repeat(np.arange(shape[1]), np.diff(state["indptr"]))
        np.add.at(dense, (state["indices"], columns), state["data"])
        return dense


def _encode_latin1(text: str, encoding: str) -> bytes:
    """The one use of `_codecs.encode` in a pickled array: its bytes, written as text."""
    if encoding not in ("latin1", "latin-1"):
        raise pickle.UnpicklingError(f"unexpected encoding {encoding!r}")
    return text.encode("latin1")


def _rebuild(kind: type, base: type, state: None) -> object:
    """`copy_reg._reconstructor` for plain objects."""
    if base is not object or state is not None:
        raise pickle.UnpicklingError(f"unexpected base {base!r}")
    return object.__new__(kind)


_PYTHON_3_MODULES = {"__builtin__": "builtins", "copy_reg": "copyreg"}

# numpy's own pickles name these two, wherever this version of numpy keeps them.
_reconstruct: Any = np.arange(0).__reduce__()[0]
_scalar: Any = np.float64(0).__reduce__()[0]

_ALLOWED_GLOBALS: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): np.ndarray,
    ("numpy", "dtype"): np.dtype,
    **{
        (module, name): value
        for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        for name, value in (("_reconstruct", _reconstruct), ("scalar", _scalar))
    },
    ("_codecs", "encode"): _encode_latin1,
    ("copyreg", "_reconstructor"): _rebuild,
    ("builtins", "object"): object,
    ("builtins", "set"): set,
    ("chumpy.ch", "Ch"): _Chumpy,
    ("scipy.sparse.csc", "csc_matrix"): _SparseColumns,
    ("scipy.sparse._csc", "csc_matrix"): _SparseColumns,
}


class _Unpickler(pickle.Unpickler):
    """Refuses every global that an array does not need, before it is imported."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file, encoding="latin1")
        self._path = path

    def find_class(self, module_name: str, global_name: str, /) -> object:
        name = _PYTHON_3_MODULES.get(module_name, module_name), global_name
        if name not in _ALLOWED_GLOBALS:
            raise InputError(
                f"{self._path}: refused: it wants to load {module_name}.{global_name} where only arrays are "
                "expected; download FLAME 2020 again from flame.is.tue.mpg.de"
            )
        return _ALLOWED_GLOBALS[name]


class _ArrayReader:
    """The arrays of a pickled dictionary, by name, each checked for its shape."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries = _read_pickle(path)

    def __call__(self, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
        """shape: None for any length."""
        if name not in self._entries:
            raise InputError(f"{self._path}: has no entry {name!r}; give FLAME 2020's file")
        value = self._entries[name]
        try:
            array = value.to_array() if isinstance(value, (_Chumpy, _SparseColumns)) else np.asarray(value)
        except (KeyError, AttributeError, TypeError, ValueError, IndexError) as error:
            raise InputError(
                f"{self._path}: entry {name!r} is broken ({error!r}); download it again"
            ) from error
        _expect(self._path, name, array, shape)
        return array


def _read_pickle(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            entries = _Unpickler(file, path).load()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error}); get it from flame.is.tue.mpg.de") from error
    except _UNPICKLING_ERRORS as error:
        raise InputError(f"{path}: not a whole pickle of arrays ({error}); download it again") from error
    if not isinstance(entries, dict):
        raise InputError(
            f"{path}: holds a {type(entries).__name__}, not a dictionary; give FLAME 2020's file"
        )
    return entries


def _read_eyelid(path: Path, n_vertices: int) -> np.ndarray:
    try:
        offsets = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: cannot be read as an array ({error}); it comes with SMIRK's code"
        ) from error
    _expect(path, "offsets", offsets, (n_vertices, 3))
    return offsets


def _expect(path: Path, name: str, array: np.ndarray, shape: tuple[int | None, ...]) -> None:
    fits = array.ndim == len(shape) and all(
        want in (None, have) for want, have in zip(shape, array.shape, strict=True)
    )
    if not fits or array.dtype.kind not in "fiu":
        wanted = " x ".join("any" if side is None else str(side) for side in shape)
        raise InputError(
            f"{path}: {name} is {array.dtype} {array.shape}, expected numbers, {wanted}; use FLAME 2020's"
        )


def _real(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))


def _whole(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array, dtype=np.int32))


def _check(data: FlameData, path: Path) -> None:
    """Shapes, types and indices agree with each other; raises InputError."""
    n_vertices, n_joints = len(data.template), len(data.parents)
    shapes: dict[str, tuple[int | None, ...]] = {
        "template": (n_vertices, 3),
        "shape_basis": (n_vertices, 3, None),
        "expression_basis": (n_vertices, 3, None),
        "pose_basis": (n_vertices, 3, 9 * (n_joints - 1)),
        "eyelid_basis": (2, n_vertices, 3),
        "joint_regressor": (n_joints, n_vertices),
        "skinning": (n_vertices, n_joints),
        "parents": (n_joints,),
        "faces": (None, 3),
        "face_vertices": (None,),
    }
    for name, shape in shapes.items():
        tensor: Tensor = getattr(data, name)
        _expect(path, name, tensor.numpy(), shape)
        if not tensor.isfinite().all():
            raise InputError(f"{path}: {name} is not finite; download the file again")
    for name in ("faces", "face_vertices"):
        index: Tensor = getattr(data, name)
        if not ((index >= 0) & (index < n_vertices)).all():
            raise InputError(
                f"{path}: {name} points beyond the {n_vertices} vertices; download the file again"
            )
    parents: list[int] = data.parents.tolist()
    if parents[:1] != [-1] or any(not 0 <= parent < joint for joint, parent in enumerate(parents) if joint):
        raise InputError(
            f"{path}: parents {parents}, expected -1, then earlier joints; download the file again"
        )
