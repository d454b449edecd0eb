"""The Inception network of FID as a witness, from weights that the user has.

The 2015 TensorFlow graph in the layout of pt_inception-2015-12-05 (mseitzer/pytorch-fid, Apache-2.0; torch-fidelity has
the same keys): Inception v3 (Szegedy et al., CVPR 2016) whose pools beside convolutions leave the border out of the
mean, and whose last block takes the maximum. Written anew from the published layout.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from diffpc.errors import InputError
from diffpc.tensors import to_tensor
from diffpc.types import Image
from diffpc.weights import sha256

NEEDS = "Inception: pass --inception with pt_inception-2015-12-05-6726825d.pth of mseitzer/pytorch-fid"
"""What a report says without it."""

PREFIX = "6726825d"
"""The published file's sha256 begins with it, and so its name ends."""

SIDE = 299
WIDTH = 2048
CLASSES = 1008
"""Of the layer behind the features, which is in the file and not used."""


class Unit(nn.Module):
    """Convolution, normalisation, ReLU."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: int | tuple[int, int] = 0,
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B O h w"]:
        """Apply."""
        return functional.relu(self.bn(self.conv(x)))


@dataclass(frozen=True)
class _Way:
    """A convolution along one direction."""

    kernel: tuple[int, int]
    padding: tuple[int, int]

    def __call__(self, inputs: int, outputs: int) -> Unit:
        return Unit(inputs, outputs, self.kernel, padding=self.padding)


def _mean(x: Tensor) -> Tensor:
    return functional.avg_pool2d(x, 3, 1, 1, count_include_pad=False)


def _max(x: Tensor) -> Tensor:
    return functional.max_pool2d(x, 3, 1, 1)


class BlockA(nn.Module):
    """35 x 35: 1x1, 5x5, double 3x3, pool."""

    def __init__(self, inputs: int, pooled: int) -> None:
        super().__init__()
        self.branch1x1 = Unit(inputs, 64, 1)
        self.branch5x5_1, self.branch5x5_2 = Unit(inputs, 48, 1), Unit(48, 64, 5, padding=2)
        self.branch3x3dbl_1 = Unit(inputs, 64, 1)
        self.branch3x3dbl_2, self.branch3x3dbl_3 = Unit(64, 96, 3, padding=1), Unit(96, 96, 3, padding=1)
        self.branch_pool = Unit(inputs, pooled, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B O H W"]:
        """Apply."""
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_mean(x))], dim=1)


class BlockB(nn.Module):
    """35 x 35 -> 17 x 17."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3 = Unit(inputs, 384, 3, stride=2)
        self.branch3x3dbl_1 = Unit(inputs, 64, 1)
        self.branch3x3dbl_2, self.branch3x3dbl_3 = Unit(64, 96, 3, padding=1), Unit(96, 96, 3, stride=2)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B O h w"]:
        """Apply."""
        double = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), double, functional.max_pool2d(x, 3, 2)], dim=1)


class BlockC(nn.Module):
    """17 x 17: 1x1, 7x7 in two ways, pool."""

    def __init__(self, inputs: int, inner: int) -> None:
        super().__init__()
        row, column = _Way((1, 7), (0, 3)), _Way((7, 1), (3, 0))
        self.branch1x1 = Unit(inputs, 192, 1)
        self.branch7x7_1 = Unit(inputs, inner, 1)
        self.branch7x7_2, self.branch7x7_3 = row(inner, inner), column(inner, 192)
        self.branch7x7dbl_1 = Unit(inputs, inner, 1)
        self.branch7x7dbl_2, self.branch7x7dbl_3 = column(inner, inner), row(inner, inner)
        self.branch7x7dbl_4, self.branch7x7dbl_5 = column(inner, inner), row(inner, 192)
        self.branch_pool = Unit(inputs, 192, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B O H W"]:
        """Apply."""
        seven = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        double = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        double = self.branch7x7dbl_5(self.branch7x7dbl_4(double))
        return torch.cat([self.branch1x1(x), seven, double, self.branch_pool(_mean(x))], dim=1)


class BlockD(nn.Module):
    """17 x 17 -> 8 x 8."""

    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.branch3x3_1, self.branch3x3_2 = Unit(inputs, 192, 1), Unit(192, 320, 3, stride=2)
        self.branch7x7x3_1 = Unit(inputs, 192, 1)
        self.branch7x7x3_2 = Unit(192, 192, (1, 7), padding=(0, 3))
        self.branch7x7x3_3 = Unit(192, 192, (7, 1), padding=(3, 0))
        self.branch7x7x3_4 = Unit(192, 192, 3, stride=2)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B O h w"]:
        """Apply."""
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat(
            [self.branch3x3_2(self.branch3x3_1(x)), seven, functional.max_pool2d(x, 3, 2)], dim=1
        )


class BlockE(nn.Module):
    """8 x 8: 1x1, 3x3 in two halves, double, pool."""

    def __init__(self, inputs: int, maximum: bool) -> None:
        super().__init__()
        row, column = _Way((1, 3), (0, 1)), _Way((3, 1), (1, 0))
        self.pool = _max if maximum else _mean
        self.branch1x1 = Unit(inputs, 320, 1)
        self.branch3x3_1 = Unit(inputs, 384, 1)
        self.branch3x3_2a, self.branch3x3_2b = row(384, 384), column(384, 384)
        self.branch3x3dbl_1, self.branch3x3dbl_2 = Unit(inputs, 448, 1), Unit(448, 384, 3, padding=1)
        self.branch3x3dbl_3a, self.branch3x3dbl_3b = row(384, 384), column(384, 384)
        self.branch_pool = Unit(inputs, 192, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B O H W"]:
        """Apply."""
        three, double = self.branch3x3_1(x), self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        halves = [self.branch3x3_2a(three), self.branch3x3_2b(three)]
        halves += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
        return torch.cat([self.branch1x1(x), *halves, self.branch_pool(self.pool(x))], dim=1)


class Inception(nn.Module):
    """Pictures -> the 2048 features before the classifier; names as in the published file."""

    def __init__(self) -> None:
        super().__init__()
        self.Conv2d_1a_3x3 = Unit(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3, self.Conv2d_2b_3x3 = Unit(32, 32, 3), Unit(32, 64, 3, padding=1)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = Unit(64, 80, 1), Unit(80, 192, 3)
        self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = BlockA(192, 32), BlockA(256, 64), BlockA(288, 64)
        self.Mixed_6a, self.Mixed_6b = BlockB(288), BlockC(768, 128)
        self.Mixed_6c, self.Mixed_6d, self.Mixed_6e = BlockC(768, 160), BlockC(768, 160), BlockC(768, 192)
        self.Mixed_7a, self.Mixed_7b, self.Mixed_7c = BlockD(768), BlockE(1280, False), BlockE(2048, True)
        self.fc = nn.Linear(WIDTH, CLASSES)

    def forward(self, x: Float[Tensor, "B 3 299 299"]) -> Float[Tensor, "B 2048"]:
        """RGB in [-1, 1]."""
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(functional.max_pool2d(x, 3, 2)))
        x = functional.max_pool2d(x, 3, 2)
        for block in self._blocks():
            x = block(x)
        return x.mean(dim=(2, 3))

    def _blocks(self) -> Sequence[nn.Module]:
        first = [self.Mixed_5b, self.Mixed_5c, self.Mixed_5d, self.Mixed_6a, self.Mixed_6b, self.Mixed_6c]
        return [*first, self.Mixed_6d, self.Mixed_6e, self.Mixed_7a, self.Mixed_7b, self.Mixed_7c]


class InceptionWitness:
    """See `observe.ImageFeatures`."""

    name, crops = "inception", False

    def __init__(self, network: Inception, digest: str) -> None:
        self.network, self.digest = network.eval(), digest

    @torch.no_grad()
    def __call__(self, image: Image) -> Float[np.ndarray, " D"]:
        """Features of the picture, resized to 299 x 299 (bilinear, as pytorch-fid does)."""
        pixels = functional.interpolate(
            to_tensor(image)[None], (SIDE, SIDE), mode="bilinear", align_corners=False
        )
        return self.network(pixels)[0].numpy()


def load_inception(path: Path, expected: str = PREFIX) -> InceptionWitness:
    """The network from its published file.

    Args:
        path: the .pth file.
        expected: what its sha256 must begin with: a file of this kind is trusted by its hash alone.

    Raises:
        InputError: if it is missing, another file, or no such network.
    """
    if not path.is_file():
        raise InputError(
            f"{path}: no such file; fetch pt_inception-2015-12-05-6726825d.pth of mseitzer/pytorch-fid"
        )
    digest = sha256(path)
    if not digest.startswith(expected):
        raise InputError(
            f"{path}: its sha256 is {digest}, which does not begin with {expected}; fetch it again"
        )
    network = Inception()
    state = torch.load(path, map_location="cpu", weights_only=True)
    counters = {
        name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")
    }
    try:
        network.load_state_dict({**counters, **state})
    except RuntimeError as error:
        raise InputError(f"{path}: is no Inception of FID ({str(error)[:160]}); fetch it again") from error
    return InceptionWitness(network, digest)
