"""ID-Injectors: the identity's features modulate the frozen UNet's decoder (Eq. 15 to 17)."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Literal

import torch
from diffusers import ConfigMixin, ModelMixin, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

Modulation = Literal["paper", "gated", "residual"]
"""Forms of Eq. 15 to 17."""

Form = Literal[Modulation, "additive"]
"""Or ControlNet's, the method without ID-Injectors in the paper's Table 5."""

Strength = float | Float[Tensor, "B 1 1 1"]
"""Identity strength s, for all images or for each."""


class IDInjector(nn.Module):
    """One site: decoder state z_d, skip z_e and control c_id -> y_d.

    The library concatenates in the order (z_d, z_e); so do we: the frozen convolutions behind expect it.
    A zero-initialised 1 x 1 convolution takes c_id to the width of z_d for the sum in Eq. 15 (method.md,
    point 6). It stands at every site, also where the widths agree: it is ControlNet's zero convolution.
    """

    def __init__(self, widths: tuple[int, int, int], groups: int, kernel: int, form: Modulation) -> None:
        """Build one injector.

        Args:
            widths: channels of c_id, z_d and z_e; z_e has 0 channels at the middle block.
            groups: groups of the normalisation.
            kernel: side of the convolutions that make phi and mu, 1 or 3.
            form: "paper" is Eq. 15 to 17 as printed; "gated" and "residual" leave the frozen UNet exactly as it
                is until they are trained, and all forms do at strength 0 (method.md, point 7).
        """
        super().__init__()
        control, hidden, skip = widths
        self.hidden = hidden
        self.form = form
        self.align = nn.Conv2d(control, hidden, 1)
        self.norm = nn.GroupNorm(groups, hidden + skip)
        self.modulation = nn.Conv2d(control, 2 * (hidden + skip), kernel, padding=kernel // 2)
        self.gate = nn.Parameter(torch.zeros(())) if form == "gated" else None
        for parameter in (*self.align.parameters(), *self.modulation.parameters()):
            nn.init.zeros_(parameter)

    def forward(
        self, x: Float[Tensor, "B X H W"], c_id: Float[Tensor, "B C H W"], strength: Strength
    ) -> Float[Tensor, "B X H W"]:
        """y_d for x = concat(z_d, z_e), with the user's identity strength s (0 = the base model).

        paper: y = (1 + phi) * GN(x') + mu, and between x and y at other strengths than 1;
        gated: x + s * gate * (y - x); residual: x' + s * (phi * GN(x') + mu), where c_id enters x' times s.
        """
        phi, mu = self.modulation(c_id).chunk(2, dim=1)
        aligned = self.align(c_id)
        if self.form == "residual":
            shifted = self._shifted(x, strength * aligned)
            return shifted + strength * (phi * self.norm(shifted) + mu)
        modulated = (1 + phi) * self.norm(self._shifted(x, aligned)) + mu
        weight = strength if self.gate is None else strength * self.gate
        # lerp is exact at both ends: x at 0, the equation at 1; a number stays one, as no GPU need wait for it
        return torch.lerp(x, modulated, weight.to(x.dtype) if isinstance(weight, Tensor) else weight)

    def _shifted(self, x: Tensor, aligned: Tensor) -> Tensor:
        """concat(z_d + c_id, z_e) of Eq. 15."""
        if aligned.shape[1] == x.shape[1]:
            return x + aligned
        return torch.cat([x[:, : self.hidden] + aligned, x[:, self.hidden :]], dim=1)


class AdditiveInjector(nn.Module):
    """One site without modulation, as in ControlNet: c_id is added to the skip, or to the middle block's output.

    The 1 x 1 convolution starts at zero: untrained or at strength 0 the frozen UNet is exactly as it is.
    """

    def __init__(self, widths: tuple[int, int, int]) -> None:
        """Build one site; `widths` as in `IDInjector`."""
        super().__init__()
        control, hidden, skip = widths
        self.align = nn.Conv2d(control, skip or hidden, 1)
        for parameter in self.align.parameters():
            nn.init.zeros_(parameter)

    def forward(
        self, x: Float[Tensor, "B X H W"], c_id: Float[Tensor, "B C H W"], strength: Strength
    ) -> Float[Tensor, "B X H W"]:
        """concat(z_d, z_e + s * c_id) for x = concat(z_d, z_e)."""
        added = strength * self.align(c_id)
        hidden = x.shape[1] - added.shape[1]
        return torch.cat([x[:, :hidden], x[:, hidden:] + added], dim=1) if hidden else x + added


def new_injector(widths: tuple[int, int, int], groups: int, kernel: int, form: Form) -> nn.Module:
    """One untrained site of any form; see `IDInjector` and `AdditiveInjector`."""
    return AdditiveInjector(widths) if form == "additive" else IDInjector(widths, groups, kernel, form)


class IDInjectors(ModelMixin, ConfigMixin):
    """All injectors of a UNet: one behind its middle block, one at decoder concatenations."""

    @register_to_config
    def __init__(
        self,
        widths: Sequence[Sequence[int]],
        places: Sequence[Sequence[int]],
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
            form: see `IDInjector` and `AdditiveInjector`, which has neither groups nor kernel.
        """
        super().__init__()
        self.places = [(block, position) for block, position in places]
        self.injectors = nn.ModuleList(
            new_injector((control, hidden, skip), groups, kernel, form) for control, hidden, skip in widths
        )

    @classmethod
    def from_unet(
        cls,
        unet: UNet2DConditionModel,
        form: Form = "residual",
        kernel: int = 3,
        sites: Literal["per_concatenation", "per_block"] = "per_concatenation",
    ) -> "IDInjectors":
        """Untrained injectors for a UNet; "per_block" keeps each decoder block's first concatenation."""
        middle = int(unet.config["block_out_channels"][-1])
        widths, places = [(middle, middle, 0)], []
        skips = _skip_widths(unet)
        for number, block in enumerate(_blocks(unet.up_blocks)):
            for position, resnet in enumerate(block.resnets):
                skip = skips.pop()
                if sites == "per_concatenation" or position == 0:
                    widths.append((skip, resnet.in_channels - skip, skip))
                    places.append((number, position))
        groups = int(unet.config["norm_num_groups"])
        return cls(widths=widths, places=places, groups=groups, kernel=kernel, form=form)

    def forward(
        self, site: int, x: Float[Tensor, "B X H W"], c_id: Float[Tensor, "B C H W"], strength: Strength
    ) -> Float[Tensor, "B X H W"]:
        """y_d of one site, 0 the middle block's; all calls come here, since offloading hangs on `forward`."""
        return self.injectors[site](x, c_id, strength)


Injection = Callable[[Tensor], Tensor]
"""x -> y_d of one site, everything else bound."""


@contextmanager
def attached(
    unet: UNet2DConditionModel, injectors: IDInjectors, c_id: Sequence[Tensor], strength: Strength = 1.0
) -> Generator[None]:
    """Within the context the UNet's decoder is modulated by `c_id`; afterwards it is as it was before.

    Outputs made within can be differentiated afterwards, with activation checkpointing, too.

    Args:
        unet: the frozen UNet.
        injectors: made for it by `IDInjectors.from_unet`.
        c_id: ID-Ctrl's features, finest first, the middle block's last. Each is read when the UNet comes to it:
            a list may get those of the next step in between.
        strength: 0 gives the base model's output.

    Raises:
        ValueError: if `c_id` has not one feature per skip connection and one for the middle block.
    """
    if len(c_id) != features(unet):
        raise ValueError(
            f"c_id has {len(c_id)} features, expected {features(unet)}: of an ID-Ctrl made for this UNet"
        )
    skips = _skips(unet)

    def bound(site: int, skip: int) -> Injection:
        return lambda x: injectors(site, x, c_id[skip], strength)

    with ExitStack() as undo:
        hook = _behind(bound(0, len(c_id) - 1))
        undo.callback(unet.mid_block.register_forward_hook(hook).remove)
        for number, block in enumerate(_blocks(unet.up_blocks)):
            inject = {
                block.resnets[place[1]]: bound(site, skips[place])
                for site, place in enumerate(injectors.places, start=1)
                if place[0] == number
            }
            for resnet, injection in inject.items():
                undo.callback(resnet.register_forward_pre_hook(_before(injection)).remove)
            if getattr(block, "gradient_checkpointing", False):
                undo.enter_context(_checkpointed(block, inject))
        yield


def features(unet: UNet2DConditionModel) -> int:
    """Number of ID-Ctrl's features for a UNet: one per skip connection and one for the middle block."""
    return sum(len(block.resnets) for block in _blocks(unet.up_blocks)) + 1


def _behind(injection: Injection) -> Callable[..., Tensor]:
    def hook(_module: nn.Module, _arguments: tuple[Any, ...], output: Tensor) -> Tensor:
        return injection(output)

    return hook


def _before(injection: Injection) -> Callable[..., tuple[Any, ...]]:
    def hook(_module: nn.Module, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        return (injection(arguments[0]), *arguments[1:])

    return hook


@contextmanager
def _checkpointed(block: Any, inject: dict[nn.Module, Injection]) -> Generator[None]:
    """The backward pass runs checkpointed layers again when the hooks are gone: they must hold the injection."""
    original = block._gradient_checkpointing_func

    def checkpoint(module: nn.Module, *arguments: Tensor) -> Tensor:
        if module not in inject:
            return original(module, *arguments)

        def injected(x: Tensor, *rest: Tensor) -> Tensor:
            return module.forward(inject[module](x), *rest)

        return original(injected, *arguments)

    block._gradient_checkpointing_func = checkpoint
    try:
        yield
    finally:
        block._gradient_checkpointing_func = original


def _skips(unet: UNet2DConditionModel) -> dict[tuple[int, int], int]:
    """(decoder block, ResNet) -> number of the skip it is concatenated with: the decoder takes the last first."""
    places = [
        (number, position)
        for number, block in enumerate(_blocks(unet.up_blocks))
        for position in range(len(block.resnets))
    ]
    return dict(zip(places, reversed(range(len(places))), strict=True))


def _skip_widths(unet: UNet2DConditionModel) -> list[int]:
    """Channels of the skip connections, in the order in which the encoder makes them."""
    widths = [int(unet.conv_in.out_channels)]
    for block in _blocks(unet.down_blocks):
        width = int(block.resnets[0].out_channels)
        widths += [width] * (len(block.resnets) + (1 if block.downsamplers else 0))
    return widths


def _blocks(blocks: nn.ModuleList) -> list[Any]:
    """Any: the library's blocks differ in class, and torch declares their parts as Tensor | Module."""
    return list(blocks)
