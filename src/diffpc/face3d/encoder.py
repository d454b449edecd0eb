"""Photo crop -> 3D face parameters (Eq. 5 and 6): SMIRK's encoder in plain torch, at any head size.

Layout, names and numbers follow georgeretsi/smirk @ c7de404 (`src/smirk_encoder.py`), whose backbones are
timm's `tf_mobilenetv3_{small,large}_minimal_100`, so that the published weights load strictly, without timm.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffpc.errors import InputError, UsageError

BackboneKind = Literal["small", "large"]

SMIRK_PREFIX = "smirk_encoder."
"""What the published checkpoint writes before each of the encoder's names; it also holds a generator."""

JAW_SIDEWAYS_LIMIT = 0.2
"""Radians: the jaw only opens (first component >= 0), and hardly turns (the other two)."""

INITIAL_CAMERA_SCALE = 7.0
"""A FLAME head is about 0.2 units wide and fills most of a crop that spans 2."""

# (expanded width, width, stride) of each inverted residual, by stage; the first stage is depthwise-separable.
_Block = tuple[int, int, int]


@dataclass(frozen=True)
class _BackboneLayout:
    first_stride: int
    stages: tuple[tuple[_Block, ...], ...]
    feature_width: int


_LAYOUTS: dict[str, _BackboneLayout] = {
    "small": _BackboneLayout(
        first_stride=2,
        stages=(
            ((72, 24, 2), (88, 24, 1)),
            ((96, 40, 2), (240, 40, 1), (240, 40, 1)),
            ((120, 48, 1), (144, 48, 1)),
            ((288, 96, 2), (576, 96, 1), (576, 96, 1)),
        ),
        feature_width=576,
    ),
    "large": _BackboneLayout(
        first_stride=1,
        stages=(
            ((64, 24, 2), (72, 24, 1)),
            ((72, 40, 2), (120, 40, 1), (120, 40, 1)),
            ((240, 80, 2), (200, 80, 1), (184, 80, 1), (184, 80, 1)),
            ((480, 112, 1), (672, 112, 1)),
            ((672, 160, 2), (960, 160, 1), (960, 160, 1)),
        ),
        feature_width=960,
    ),
}


@dataclass(frozen=True)
class EncoderSettings:
    """Sizes of a FaceEncoder. The defaults are SMIRK's."""

    n_shape: int = 300
    """Identity coefficients (alpha)."""
    n_expression: int = 50
    """Expression coefficients (beta)."""
    n_eyelid: int = 2
    """Eyelid closures (beta); 0 where the expression basis has them."""
    n_jaw: int = 3
    """Jaw axis-angle (beta): 3, or 0 where the expression basis has it."""
    pose_backbone: BackboneKind = "small"
    shape_backbone: BackboneKind = "large"
    expression_backbone: BackboneKind = "large"

    def __post_init__(self) -> None:
        if self.n_jaw not in (0, 3):
            raise UsageError(f"n_jaw = {self.n_jaw}: a jaw rotation has 3 components; use 3, or 0 for none")
        for kind in (self.pose_backbone, self.shape_backbone, self.expression_backbone):
            if kind not in _LAYOUTS:
                raise UsageError(f"unknown backbone {kind!r}: use one of {', '.join(_LAYOUTS)}")


@dataclass(frozen=True)
class EncoderOutput:
    """What the encoder reads from a batch of crops; the meaning of each field is that of FaceParams."""

    shape: Float[Tensor, "B shape"]
    expression: Float[Tensor, "B expression"]
    eyelid: Float[Tensor, "B eyelid"]
    """In [0, 1]."""
    jaw: Float[Tensor, "B jaw"]
    """Axis-angle, radians: first component >= 0, the others within JAW_SIDEWAYS_LIMIT."""
    rotation: Float[Tensor, "B 3"]
    """Axis-angle, radians."""
    camera: Float[Tensor, "B 3"]
    """(s, tx, ty), in the crop's [-1, 1] coordinates."""


class FaceEncoder(nn.Module):
    """Three small convolutional networks: head pose and camera, identity shape, expression."""

    def __init__(self, settings: EncoderSettings | None = None) -> None:
        super().__init__()
        self.settings = settings = settings or EncoderSettings()
        self.pose_encoder = _PoseEncoder(settings.pose_backbone)
        self.shape_encoder = _ShapeEncoder(settings.shape_backbone, settings.n_shape)
        width = settings.n_expression + settings.n_eyelid + settings.n_jaw
        self.expression_encoder = _ExpressionEncoder(settings.expression_backbone, width)

    def forward(self, images: Float[Tensor, "B 3 H W"]) -> EncoderOutput:
        """Parameters of the face in each crop.

        images: RGB in [0, 1], without mean or deviation taken out; SMIRK was trained on 224 x 224.
        """
        pose = self.pose_encoder(images)
        beta = self.expression_encoder(images)
        s = self.settings
        expression, eyelid, jaw = beta.split([s.n_expression, s.n_eyelid, s.n_jaw], dim=1)
        return EncoderOutput(
            shape=self.shape_encoder(images),
            expression=expression,
            eyelid=eyelid.clamp(0.0, 1.0),
            jaw=_limit_jaw(jaw),
            rotation=pose[:, :3],
            camera=pose[:, 3:],
        )


def smirk_state_dict(checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's part of a SMIRK checkpoint (`SMIRK_em1.pt`), under FaceEncoder's names.

    Raises InputError where the checkpoint holds no such part.
    """
    found = {
        name.removeprefix(SMIRK_PREFIX): value
        for name, value in checkpoint.items()
        if name.startswith(SMIRK_PREFIX)
    }
    if not found:
        first = ", ".join(list(checkpoint)[:3]) or "none"
        raise InputError(
            f"not a SMIRK checkpoint: no entry begins with {SMIRK_PREFIX!r} (first entries: {first}); "
            "give the published SMIRK_em1.pt"
        )
    return found


def load_smirk(path: Path) -> FaceEncoder:
    """SMIRK's published encoder, on the CPU, in evaluation mode.

    Raises InputError where the file is absent, is no plain checkpoint of tensors, or does not fit the layout.
    """
    try:
        # weights_only: a checkpoint is a pickle, and a pickle may run code.
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise InputError(
            f"{path}: cannot be read as a PyTorch checkpoint ({error}); download it again"
        ) from error
    if not isinstance(checkpoint, Mapping):
        raise InputError(f"{path}: holds a {type(checkpoint).__name__}, not a dictionary of weights")
    encoder = FaceEncoder()
    try:
        encoder.load_state_dict(smirk_state_dict(checkpoint), strict=True)
    except RuntimeError as error:
        raise InputError(
            f"{path}: does not fit SMIRK's encoder; give the published SMIRK_em1.pt: {error}"
        ) from error
    return encoder.eval()


def _limit_jaw(jaw: Tensor) -> Tensor:
    """SMIRK's bounds on the jaw, (B, 3) or (B, 0)."""
    opening = jaw[:, :1].relu()
    sideways = jaw[:, 1:].clamp(-JAW_SIDEWAYS_LIMIT, JAW_SIDEWAYS_LIMIT)
    return torch.cat([opening, sideways], dim=1)


# The three heads differ in the name of their linear layer, and in how near to the mean face they begin.


class _PoseEncoder(nn.Module):
    def __init__(self, kind: BackboneKind) -> None:
        super().__init__()
        self.encoder = _Backbone(kind)
        self.pose_cam_layers = nn.Sequential(nn.Linear(self.encoder.width, 6))
        _shrink(self.pose_cam_layers, 0.001)
        bias = self.get_parameter("pose_cam_layers.0.bias")
        with torch.no_grad():
            bias[3] = INITIAL_CAMERA_SCALE

    def forward(self, images: Tensor) -> Tensor:
        return self.pose_cam_layers(self.encoder(images))


class _ShapeEncoder(nn.Module):
    def __init__(self, kind: BackboneKind, width: int) -> None:
        super().__init__()
        self.encoder = _Backbone(kind)
        self.shape_layers = nn.Sequential(nn.Linear(self.encoder.width, width))
        _shrink(self.shape_layers, 0.0)

    def forward(self, images: Tensor) -> Tensor:
        return self.shape_layers(self.encoder(images))


class _ExpressionEncoder(nn.Module):
    def __init__(self, kind: BackboneKind, width: int) -> None:
        super().__init__()
        self.encoder = _Backbone(kind)
        self.expression_layers = nn.Sequential(nn.Linear(self.encoder.width, width))
        _shrink(self.expression_layers, 0.1)

    def forward(self, images: Tensor) -> Tensor:
        return self.expression_layers(self.encoder(images))


@torch.no_grad()
def _shrink(layers: nn.Module, factor: float) -> None:
    for parameter in layers.parameters():
        parameter.mul_(factor)


class _Backbone(nn.Module):
    """MobileNetV3 "minimal" as ported from TensorFlow: 3 x 3 kernels, ReLU, no squeeze-and-excitation."""

    def __init__(self, kind: BackboneKind) -> None:
        super().__init__()
        layout = _LAYOUTS[kind]
        self.width = layout.feature_width
        self.conv_stem = _SameConv2d(3, 16, 3, stride=2, bias=False)
        self.bn1 = _norm(16)
        stages: list[nn.Module] = [nn.Sequential(_SeparableBlock(16, layout.first_stride))]
        width = 16
        for stage in layout.stages:
            blocks: list[nn.Module] = []
            for expanded, out, stride in stage:
                blocks.append(_InvertedResidual(width, expanded, out, stride))
                width = out
            stages.append(nn.Sequential(*blocks))
        stages.append(nn.Sequential(_PointwiseBlock(width, layout.feature_width)))
        self.blocks = nn.Sequential(*stages)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> globally averaged features (B, width)."""
        maps = self.blocks(functional.relu(self.bn1(self.conv_stem(images))))
        return functional.adaptive_avg_pool2d(maps, 1).flatten(1)


class _SeparableBlock(nn.Module):
    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _depthwise(width, stride)
        self.bn1 = _norm(width)
        self.conv_pw = _pointwise(width, width)
        self.bn2 = _norm(width)
        self.has_skip = stride == 1

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv_dw(x)))
        y = self.bn2(self.conv_pw(y))
        return y + x if self.has_skip else y


class _InvertedResidual(nn.Module):
    def __init__(self, width: int, expanded: int, out: int, stride: int) -> None:
        super().__init__()
        self.conv_pw = _pointwise(width, expanded)
        self.bn1 = _norm(expanded)
        self.conv_dw = _depthwise(expanded, stride)
        self.bn2 = _norm(expanded)
        self.conv_pwl = _pointwise(expanded, out)
        self.bn3 = _norm(out)
        self.has_skip = stride == 1 and width == out

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv_pw(x)))
        y = functional.relu(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return y + x if self.has_skip else y


class _PointwiseBlock(nn.Module):
    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        self.conv = _pointwise(width, out)
        self.bn1 = _norm(out)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn1(self.conv(x)))


class _SameConv2d(nn.Conv2d):
    """TensorFlow's "SAME" padding: output ceil(size / stride); odd padding goes right and below."""

    def forward(self, input: Tensor) -> Tensor:
        height, width = input.shape[-2:]
        top, bottom = _same_padding(height, self.kernel_size[0], self.stride[0])
        left, right = _same_padding(width, self.kernel_size[1], self.stride[1])
        return super().forward(functional.pad(input, (left, right, top, bottom)))


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _depthwise(width: int, stride: int) -> nn.Conv2d:
    if stride == 1:  # here "SAME" is symmetric
        return nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
    return _SameConv2d(width, width, 3, stride=stride, groups=width, bias=False)


def _pointwise(width: int, out: int) -> nn.Conv2d:
    return nn.Conv2d(width, out, 1, bias=False)


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=1e-3)
