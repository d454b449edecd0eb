"""dlib's face recognition ResNet-29 in plain torch: batched, differentiable, with its intermediate maps.

Architecture: davisking/dlib, examples/dnn_face_recognition_ex.cpp (`anet_type`). Each convolution absorbs the
affine layer that follows it, which is exact up to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffpc.errors import InputError
from diffpc.faces.dlib_weights import DlibLayer, read_dlib_network


@dataclass(frozen=True)
class ResolutionLevel:
    """A run of residual blocks of one width."""

    width: int
    """Channels."""
    blocks: int
    """How many residual blocks."""
    down: bool
    """Whether the first block halves the resolution."""


@dataclass(frozen=True)
class DlibResNetSettings:
    """The sizes of the network; the defaults are those of the released weights."""

    mean: tuple[float, float, float] = (122.782, 117.001, 104.298)
    """Red, green, blue on the scale 0..255."""
    stem_width: int = 32
    """Channels of the first convolution."""
    levels: tuple[ResolutionLevel, ...] = (
        ResolutionLevel(32, 3, down=False),
        ResolutionLevel(64, 4, down=True),
        ResolutionLevel(128, 3, down=True),
        ResolutionLevel(256, 3, down=True),
        ResolutionLevel(256, 1, down=True),
    )
    """From fine to coarse."""
    dimension: int = 128
    """Length of the embedding."""


class DlibFaceResNet(nn.Module):
    """Face chip -> embedding. L2 distances below about 0.5 to 0.6 mean the same person."""

    def __init__(self, settings: DlibResNetSettings | None = None) -> None:
        super().__init__()
        settings = settings or DlibResNetSettings()
        self.settings = settings
        self.stem = nn.Conv2d(3, settings.stem_width, 7, stride=2)
        widths = (settings.stem_width, *(level.width for level in settings.levels))
        self.levels = nn.ModuleList(
            _level(width_in, level) for width_in, level in zip(widths, settings.levels, strict=False)
        )
        self.head = nn.Linear(widths[-1], settings.dimension, bias=False)
        self.register_buffer("mean", torch.tensor(settings.mean).view(3, 1, 1), persistent=False)

    def forward(self, chips: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B D"]:
        """Return raw embeddings (not normalised).

        Args:
            chips: aligned faces, RGB in [-1, 1]; 150 x 150 for the released weights.
        """
        return self.head(self.features(chips)[-1].mean(dim=(2, 3)))

    def features(self, chips: Float[Tensor, "B 3 H W"]) -> tuple[Tensor, ...]:
        """Return the map after each resolution level, fine to coarse.

        For 150 x 150 chips: (B, 32, 35, 35), (B, 64, 17, 17), (B, 128, 8, 8), (B, 256, 4, 4), (B, 256, 2, 2).
        """
        # dlib subtracts its mean from 0..255 and divides by 256
        values = (chips * 127.5 + 127.5 - self.get_buffer("mean")) / 256
        values = functional.max_pool2d(functional.relu(self.stem(values)), 3, stride=2)
        maps: list[Tensor] = []
        for level in self.levels:
            values = level(values)
            maps.append(values)
        return tuple(maps)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions beside an identity, or a 2 x 2 average where the block halves the size."""

    def __init__(self, width_in: int, width: int, down: bool) -> None:
        super().__init__()
        self.down = down
        # dlib pads a strided convolution by nothing
        self.conv1 = nn.Conv2d(width_in, width, 3, stride=2 if down else 1, padding=0 if down else 1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, values: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return the block's output, which has the larger of both branches' sizes."""
        residual = self.conv2(functional.relu(self.conv1(values)))
        identity = functional.avg_pool2d(values, 2) if self.down else values
        return functional.relu(add_zero_padded(residual, identity))


def add_zero_padded(
    first: Float[Tensor, "B C1 H1 W1"], second: Float[Tensor, "B C2 H2 W2"]
) -> Float[Tensor, "B C H W"]:
    """Add maps of different sizes as dlib's `add_prev` does: what either lacks counts as zero."""
    channels, height, width = (max(pair) for pair in zip(first.shape[1:], second.shape[1:], strict=True))

    def fill(values: Tensor) -> Tensor:
        missing = (width - values.shape[3], height - values.shape[2], channels - values.shape[1])
        return functional.pad(values, (0, missing[0], 0, missing[1], 0, missing[2]))

    return fill(first) + fill(second)


def load_dlib_resnet(path: Path) -> DlibFaceResNet:
    """Build the network from dlib's own file (`dlib_face_recognition_resnet_model_v1.dat`).

    Returns:
        The network in evaluation mode with frozen parameters, on the CPU; gradients reach its input.

    Raises:
        InputError: if the file is missing, damaged or of another architecture.
    """
    stored = read_dlib_network(path)
    network = DlibFaceResNet(DlibResNetSettings(mean=stored.mean))
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    stored_convolutions = _with_affine(stored.layers)
    if len(convolutions) != len(stored_convolutions) or stored.layers[-1].kind != "fc_no_bias":
        raise InputError(
            f"{path.name} has {len(stored_convolutions)} convolutions, expected {len(convolutions)} and "
            "a final fc_no_bias; only dlib's released face recognition network can be read"
        )
    for module, (convolution, affine) in zip(convolutions, stored_convolutions, strict=True):
        _fill_convolution(module, convolution, affine)
    _fill(network.head.weight, torch.from_numpy(stored.layers[-1].parameters), transposed=True)
    return network.eval().requires_grad_(False)


def _level(width_in: int, level: ResolutionLevel) -> nn.Sequential:
    first = ResidualBlock(width_in, level.width, level.down)
    rest = [ResidualBlock(level.width, level.width, down=False) for _ in range(level.blocks - 1)]
    return nn.Sequential(first, *rest)


def _with_affine(layers: tuple[DlibLayer, ...]) -> list[tuple[DlibLayer, DlibLayer]]:
    """Each convolution with the affine layer after it."""
    return [
        (layer, after) for layer, after in pairwise(layers) if layer.kind == "con" and after.kind == "affine"
    ]


def _fill_convolution(module: nn.Conv2d, convolution: DlibLayer, affine: DlibLayer) -> None:
    filters, rows, columns, *strides_and_padding = convolution.sizes
    expected = (module.out_channels, *module.kernel_size, *module.stride, *(int(p) for p in module.padding))
    if (filters, rows, columns, *strides_and_padding) != expected:
        raise InputError(f"convolution {convolution.sizes} in the dlib file, expected {expected}")
    scale, shift = torch.from_numpy(affine.parameters).chunk(2)
    parameters = torch.from_numpy(convolution.parameters)
    weight, bias = parameters[:-filters], parameters[-filters:]
    if scale.numel() != filters or weight.numel() != module.weight.numel() or module.bias is None:
        raise InputError(f"convolution of {filters} filters in the dlib file has parameters of other sizes")
    _fill(module.weight, weight.view(filters, -1) * scale[:, None])
    _fill(module.bias, bias * scale + shift)


def _fill(parameter: Tensor, values: Tensor, transposed: bool = False) -> None:
    if values.numel() != parameter.numel():
        raise InputError(f"{values.numel()} values in the dlib file, expected {parameter.numel()}")
    shape = parameter.shape
    with torch.no_grad():
        parameter.copy_(values.view(shape[1], shape[0]).T if transposed else values.view(shape))
