"""IResNet, ArcFace's backbone, in torch, with the parameter names of insightface's training code.

Architecture: deepinsight/insightface, recognition/arcface_torch/backbones/iresnet.py, for inference (no
dropout). Its `backbone.pth` loads by `load_state_dict`; iresnet_onnx.py loads the ONNX exports.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn


@dataclass(frozen=True)
class IResNetSettings:
    """The sizes of the network; the defaults are IResNet-100 (glintr100)."""

    stem_width: int = 64
    """Channels of the first convolution."""
    widths: tuple[int, ...] = (64, 128, 256, 512)
    """Channels per stage; each stage halves the resolution."""
    depths: tuple[int, ...] = (3, 13, 30, 3)
    """Blocks per stage."""
    dimension: int = 512
    """Length of the embedding."""
    size: int = 112
    """Side of the chip in pixels."""

    @property
    def map_size(self) -> int:
        """Side of the last map."""
        side = self.size
        for _ in self.widths:
            side = (side + 1) // 2
        return side


class IBasicBlock(nn.Module):
    """Norm, convolution, norm, PReLU, convolution (strided), norm; beside a shortcut."""

    def __init__(self, width_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(width_in)
        self.conv1 = nn.Conv2d(width_in, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.prelu = nn.PReLU(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(width_in, width, stride) if stride != 1 or width_in != width else None

    def forward(self, values: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """Return the sum of both branches."""
        residual = self.prelu(self.bn2(self.conv1(self.bn1(values))))
        shortcut = values if self.downsample is None else self.downsample(values)
        return self.bn3(self.conv2(residual)) + shortcut


class IResNet(nn.Module):
    """Aligned face -> embedding; compare by cosine."""

    def __init__(self, settings: IResNetSettings | None = None) -> None:
        super().__init__()
        settings = settings or IResNetSettings()
        self.settings = settings
        self.conv1 = nn.Conv2d(3, settings.stem_width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(settings.stem_width)
        self.prelu = nn.PReLU(settings.stem_width)
        width = settings.stem_width
        for index, (width_out, depth) in enumerate(zip(settings.widths, settings.depths, strict=True), 1):
            self.add_module(f"layer{index}", _stage(width, width_out, depth))
            width = width_out
        self.bn2 = nn.BatchNorm2d(width)
        self.fc = nn.Linear(width * settings.map_size**2, settings.dimension)
        self.features = nn.BatchNorm1d(settings.dimension)

    def forward(self, chips: Float[Tensor, "B 3 S S"]) -> Float[Tensor, "B D"]:
        """Return raw embeddings.

        Args:
            chips: faces aligned to the ArcFace template, RGB in [-1, 1].
        """
        values = self.prelu(self.bn1(self.conv1(chips)))
        for index in range(1, len(self.settings.widths) + 1):
            values = self.get_submodule(f"layer{index}")(values)
        return self.features(self.fc(torch.flatten(self.bn2(values), 1)))


def _shortcut(width_in: int, width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(width_in, width, 1, stride=stride, bias=False), nn.BatchNorm2d(width))


def _stage(width_in: int, width: int, depth: int) -> nn.Sequential:
    first = IBasicBlock(width_in, width, stride=2)
    return nn.Sequential(first, *(IBasicBlock(width, width, stride=1) for _ in range(depth - 1)))
