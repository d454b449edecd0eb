"""Loads IResNet from an ONNX export such as antelopev2's glintr100.onnx.

Exporters fold a batch norm that follows a convolution into the convolution. The weights are therefore taken
from the graph's structure, not from names: walking the nodes in their topological order, every convolution is
read together with its bias or with the norm after it, and both become our convolution and norm. This module
needs the optional package `onnx`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx import AttributeProto, GraphProto, NodeProto, numpy_helper
from torch import Tensor

from diffpc.errors import InputError
from diffpc.faces.iresnet import IResNet, IResNetSettings

_EPSILON = 1e-5
"""Of torch's batch norms."""

_MAX_BYTES = 1 << 30

Norm = dict[str, Tensor]
"""weight, bias, running_mean, running_var."""


@dataclass(frozen=True)
class _Convolution:
    weight: Tensor
    """(out, in, rows, columns)."""
    stride: int
    norm: Norm
    """The norm after it, or its bias dressed as one."""


@dataclass(frozen=True)
class _Parts:
    """A graph's parameters by kind, each in the order of evaluation."""

    convolutions: list[_Convolution]
    """The 3 x 3 ones."""
    shortcuts: list[_Convolution]
    """The 1 x 1 ones."""
    norms: list[Norm]
    """Those that no convolution precedes."""
    slopes: list[Tensor]
    linear: tuple[Tensor, Tensor]
    """Weight (out, in), bias."""


def load_iresnet(path: Path) -> IResNet:
    """Build the network, of whatever widths and depths, from an ONNX file.

    Returns:
        The network in evaluation mode with frozen parameters, on the CPU.

    Raises:
        InputError: if the file is missing, damaged or not an IResNet.
    """
    parts = _read_parts(_read_graph(path), path.name)
    settings = _infer_settings(parts, path.name)
    network = IResNet(settings)
    state = _state_dict(parts, settings, path.name)
    mismatch = {
        name: (tuple(state[name].shape) if name in state else None, tuple(value.shape))
        for name, value in network.state_dict().items()
        if not name.endswith("num_batches_tracked")
        and (name not in state or state[name].shape != value.shape)
    }
    if mismatch:
        raise InputError(f"{path.name} is no IResNet: shapes (found, expected) differ: {mismatch}")
    network.load_state_dict(state, strict=False)  # only the norms' step counters are absent
    return network.eval().requires_grad_(False)


def _read_graph(path: Path) -> GraphProto:
    if not path.is_file():
        raise InputError(f"{path} does not exist; expected an ONNX file such as glintr100.onnx")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path} has {path.stat().st_size} bytes; expected at most {_MAX_BYTES}")
    try:
        return onnx.load(str(path), load_external_data=False).graph
    except DecodeError as error:
        raise InputError(f"{path} is damaged or no ONNX file; download it again") from error


def _read_parts(graph: GraphProto, name: str) -> _Parts:
    reader = _GraphReader(graph, name)
    convolutions = [reader.convolution(node) for node in graph.node if node.op_type == "Conv"]
    linear = [reader.linear(node) for node in graph.node if node.op_type == "Gemm"]
    if not graph.node or graph.node[0].op_type != "Conv" or len(linear) != 1:
        raise InputError(
            f"{name} is no IResNet that can be read: expected a convolution first and one Gemm, found "
            f"{graph.node[0].op_type if graph.node else 'nothing'} first and {len(linear)} Gemm"
        )
    return _Parts(
        [part for part in convolutions if part.weight.shape[2] == 3],
        [part for part in convolutions if part.weight.shape[2] == 1],
        [
            reader.norm(node)
            for node in graph.node
            if node.op_type == "BatchNormalization" and node.output[0] not in reader.absorbed
        ],
        [reader.parameter(node.input[1]).flatten() for node in graph.node if node.op_type == "PRelu"],
        linear[0],
    )


class _GraphReader:
    """Parameters of single nodes of one graph."""

    def __init__(self, graph: GraphProto, name: str) -> None:
        self.name = name
        self.initialisers = {item.name: item for item in graph.initializer}
        self.norm_after = {node.input[0]: node for node in graph.node if node.op_type == "BatchNormalization"}
        convolved = {node.output[0] for node in graph.node if node.op_type == "Conv"}
        self.absorbed = {node.output[0] for key, node in self.norm_after.items() if key in convolved}

    def parameter(self, key: str) -> Tensor:
        if key not in self.initialisers:
            raise InputError(
                f"{self.name}: {key!r} is no stored parameter; the file is no plain IResNet export"
            )
        return torch.from_numpy(np.array(numpy_helper.to_array(self.initialisers[key]), dtype=np.float32))

    def norm(self, node: NodeProto) -> Norm:
        weight, bias, mean, variance = (self.parameter(key) for key in node.input[1:5])
        stored = _attribute(node, "epsilon")
        epsilon = stored.f if stored is not None else _EPSILON
        return {
            "weight": weight,
            "bias": bias,
            "running_mean": mean,
            "running_var": variance + (epsilon - _EPSILON),
        }

    def convolution(self, node: NodeProto) -> _Convolution:
        weight = self.parameter(node.input[1])
        bias = self.parameter(node.input[2]) if len(node.input) > 2 else torch.zeros(weight.shape[0])
        if node.output[0] in self.norm_after:
            norm = self.norm(self.norm_after[node.output[0]])
            if norm["running_mean"].shape != bias.shape:
                raise InputError(
                    f"{self.name}: a norm of {len(norm['running_mean'])} channels follows {len(bias)} filters"
                )
            norm["running_mean"] = norm["running_mean"] - bias
        else:
            norm = _shift(bias)
        return _Convolution(weight, _stride(node), norm)

    def linear(self, node: NodeProto) -> tuple[Tensor, Tensor]:
        weight = self.parameter(node.input[1])
        transposed = _attribute(node, "transB")
        weight = weight if transposed is not None and transposed.i else weight.T.contiguous()
        bias = self.parameter(node.input[2]) if len(node.input) > 2 else torch.zeros(weight.shape[0])
        return weight, bias


def _attribute(node: NodeProto, name: str) -> AttributeProto | None:
    return next((item for item in node.attribute if item.name == name), None)


def _stride(node: NodeProto) -> int:
    strides = _attribute(node, "strides")
    return strides.ints[0] if strides is not None and strides.ints else 1


def _shift(bias: Tensor) -> Norm:
    """A norm that only adds: its scale is exactly 1, epsilon included."""
    ones = torch.ones_like(bias)
    return {
        "weight": ones,
        "bias": bias,
        "running_mean": torch.zeros_like(bias),
        "running_var": ones - _EPSILON,
    }


def _infer_settings(parts: _Parts, name: str) -> IResNetSettings:
    """A stage begins wherever a block's second convolution has stride 2."""
    seconds = parts.convolutions[2::2]
    starts = [index for index, part in enumerate(seconds) if part.stride == 2]
    if not starts or starts[0] != 0:
        raise InputError(f"{name} is no IResNet: its first block keeps the resolution, expected stride 2")
    ends = [*starts[1:], len(seconds)]
    widths = tuple(seconds[index].weight.shape[0] for index in starts)
    weight = parts.linear[0]
    side = round((weight.shape[1] / widths[-1]) ** 0.5)
    return IResNetSettings(
        stem_width=parts.convolutions[0].weight.shape[0],
        widths=widths,
        depths=tuple(end - start for start, end in zip(starts, ends, strict=True)),
        dimension=weight.shape[0],
        size=side << len(widths),
    )


def _state_dict(parts: _Parts, settings: IResNetSettings, name: str) -> dict[str, Tensor]:
    blocks = [f"layer{s}.{b}" for s, depth in enumerate(settings.depths, 1) for b in range(depth)]
    starts = [block for block in blocks if block.endswith(".0")]
    missing_features = len(parts.norms) == len(blocks) + 1  # the exporter folded it into the Gemm
    norms = [*parts.norms, _shift(torch.zeros(settings.dimension))] if missing_features else parts.norms
    found = (len(parts.convolutions), len(parts.shortcuts), len(norms), len(parts.slopes))
    expected = (1 + 2 * len(blocks), len(starts), len(blocks) + 2, 1 + len(blocks))
    if found != expected:
        raise InputError(
            f"{name} is no IResNet: convolutions 3 x 3 and 1 x 1, norms, PReLUs: {found}, expected {expected}"
        )
    state = {"fc.weight": parts.linear[0], "fc.bias": parts.linear[1]}
    places = [("conv1", "bn1"), *((f"{b}.conv{i}", f"{b}.bn{i + 1}") for b in blocks for i in (1, 2))]
    shortcuts = [(f"{block}.downsample.0", f"{block}.downsample.1") for block in starts]
    for (place, norm), part in zip(places + shortcuts, parts.convolutions + parts.shortcuts, strict=True):
        state[f"{place}.weight"] = part.weight
        state |= {f"{norm}.{key}": value for key, value in part.norm.items()}
    for place, norm in zip([*(f"{block}.bn1" for block in blocks), "bn2", "features"], norms, strict=True):
        state |= {f"{place}.{key}": value for key, value in norm.items()}
    for place, slope in zip(["prelu", *(f"{block}.prelu" for block in blocks)], parts.slopes, strict=True):
        state[f"{place}.weight"] = slope
    return state
