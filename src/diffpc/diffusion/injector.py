"""ID-Injectors: the identity's features modulate the frozen UNet's decoder (Eq. 15 to 17)."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

Form = Literal["paper", "gated", "residual"]


class IDInjector(nn.Module):
    """One site: decoder state z_d, skip z_e and control c_id -> y_d.

    The library concatenates in the order (z_d, z_e); so do we, since the frozen convolutions behind expect it.
    z_d + c_id needs equal widths, so a zero-initialised 1 x 1 convolution takes c_id there (method.md, point 6).
    """

    def __init__(self, widths: tuple[int, int, int], groups: int, kernel: int, form: Form) -> None:
        """Build one injector.

        Args:
            widths: channels of c_id, z_d and z_e; z_e has 0 channels at the middle block.
            groups: groups of the normalisation.
            kernel: side of the convolutions that make phi and mu, 1 or 3.
            form: "paper" is Eq. 15 to 17 as printed; "gated" and "residual" leave the frozen UNet exactly as it is
                until they are trained, and at strength 0 (method.md, point 7).
        """
        super().__init__()
        control, hidden, skip = widths
        self.hidden = hidden
        self.form = form
        self.align = nn.Conv2d(control, hidden, 1)
        self.norm = nn.GroupNorm(groups, hidden + skip)
        self.modulation = nn.Conv2d(control, 2 * (hidden + skip), kernel, padding=kernel // 2)
        self.gate = nn.Parameter(torch.zeros(())) if form == "gated" else None
        for layer in (self.align, self.modulation):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias) if layer.bias is not None else None

    def forward(
        self, x: Float[Tensor, "B X H W"], c_id: Float[Tensor, "B C H W"], strength: float
    ) -> Float[Tensor, "B X H W"]:
        """y_d for x = concat(z_d, z_e), with the user's identity strength (0 = the base model)."""
        phi, mu = self.modulation(c_id).chunk(2, dim=1)
        aligned = self.align(c_id)
        if self.form == "residual":
            shifted = self._add(x, strength * aligned)
            return shifted + strength * (phi * self.norm(shifted) + mu)
        modulated = (1 + phi) * self.norm(self._add(x, aligned)) + mu
        weight = strength if self.gate is None else strength * self.gate
        return modulated if self.gate is None and strength == 1 else x + weight * (modulated - x)

    def _add(self, x: Tensor, aligned: Tensor) -> Tensor:
        if aligned.shape[1] == x.shape[1]:
            return x + aligned
        return torch.cat([x[:, : self.hidden] + aligned, x[:, self.hidden :]], dim=1)


class IDInjectors(ModelMixin, ConfigMixin):
    """All injectors of a UNet: one behind its middle block, one at decoder concatenations."""

    @register_to_config
    def __init__(
        self,
        widths: Sequence[tuple[int, int, int]],
        places: Sequence[tuple[int, int]],
        groups: int = 32,
        kernel: int = 3,
        form: Form = "residual",
    ) -> None:
        """Build all sites.

        Args:
            widths: per site, channels of c_id, z_d and z_e; the middle block's comes first.
            places: per site but the first, the decoder block and the ResNet in it.
            groups: groups of the normalisations.
            kernel: side of the convolutions.
            form: see `IDInjector`.
        """
        super().__init__()
        self.injectors = nn.ModuleList(
            IDInjector((control, hidden, skip), groups, kernel, form) for control, hidden, skip in widths
        )

    @classmethod
    def from_unet(
        cls,
        unet: UNet2DConditionModel,
        form: Form = "residual",
        kernel: int = 3,
        sites: Literal["per_concatenation", "per_block"] = "per_concatenation",
    ) -> "IDInjectors":
        """Untrained injectors that fit a UNet; "per_block" keeps the first concatenation of each decoder block."""
        middle = int(unet.config["block_out_channels"][-1])
        widths, places = [(middle, middle, 0)], []
        skips = _skip_widths(unet)
        for number, block in enumerate(unet.up_blocks):
            for position, resnet in enumerate(block.resnets):
                skip = skips.pop()
                if sites == "per_concatenation" or position == 0:
                    widths.append((skip, resnet.in_channels - skip, skip))
                    places.append((number, position))
        groups = int(unet.config["norm_num_groups"])
        return cls(widths=widths, places=places, groups=groups, kernel=kernel, form=form)


@contextmanager
def attached(
    unet: UNet2DConditionModel, injectors: IDInjectors, c_id: Sequence[Tensor], strength: float = 1.0
) -> Iterator[None]:
    """Within the context the UNet's decoder is modulated by `c_id`; afterwards it is as it was before.

    With activation checkpointing the backward pass runs the decoder again: it must happen within the context.

    Args:
        unet: the frozen UNet.
        injectors: made for it by `IDInjectors.from_unet`.
        c_id: ID-Ctrl's features, finest first, the middle block's last.
        strength: identity strength s; 0 gives the base model's output.
    """
    *skips, middle = c_id
    order = _decoder_order(unet, skips)
    handles = [unet.mid_block.register_forward_hook(_after(injectors.injectors[0], middle, strength))]
    for injector, place in zip(injectors.injectors[1:], injectors.config["places"], strict=True):
        block, position = place
        resnet = unet.up_blocks[block].resnets[position]
        handles.append(resnet.register_forward_pre_hook(_before(injector, order[block, position], strength)))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _after(injector: nn.Module, control: Tensor, strength: float) -> Any:
    def hook(_module: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        return injector(output, control, strength)

    return hook


def _before(injector: nn.Module, control: Tensor, strength: float) -> Any:
    def hook(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (injector(arguments[0], control, strength), *arguments[1:])

    return hook


def _decoder_order(unet: UNet2DConditionModel, skips: list[Tensor]) -> dict[tuple[int, int], Tensor]:
    """(decoder block, ResNet) -> the skip it is concatenated with: the decoder takes the last ones first."""
    remaining = list(skips)
    return {
        (number, position): remaining.pop()
        for number, block in enumerate(unet.up_blocks)
        for position in range(len(block.resnets))
    }


def _skip_widths(unet: UNet2DConditionModel) -> list[int]:
    """Channels of the skip connections, in the order in which the encoder makes them."""
    widths = [int(unet.conv_in.out_channels)]
    for block in unet.down_blocks:
        width = int(block.resnets[0].out_channels)
        widths += [width] * (len(block.resnets) + (1 if block.downsamplers else 0))
    return widths
