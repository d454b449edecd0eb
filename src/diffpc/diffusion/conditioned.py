"""What the UNet's and the transformer's ID-Ctrl have in common: how the 3D face enters, and how they are copied."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.utils.accelerate_utils import apply_forward_hook
from jaxtyping import Float
from torch import Tensor, nn


class Conditioned(ModelMixin, ConfigMixin):
    """z_3d, and built with `skin` z_skin beside it, enter through one zero-initialised convolution.

    Untrained, it is told nothing. What it gives is constant over the steps and embedded apart from them.
    """

    condition_in: nn.Conv2d

    @apply_forward_hook  # offloaded networks come to the device on `forward`; this comes before it
    def embed_condition(
        self, z_3d: Float[Tensor, "B C H W"], z_skin: Float[Tensor, "B C H W"] | None = None
    ) -> Float[Tensor, "B D h w"]:
        """The VAE's latents of I_3d and I_skin as an addition to the first feature map, or to the embedded patches.

        Built with skin, None and zeros mean that no skin is known; built without it, z_skin is not looked at.
        """
        if not self.config["skin"]:
            return self.condition_in(z_3d)
        return self.condition_in(
            torch.cat([z_3d, torch.zeros_like(z_3d) if z_skin is None else z_skin], dim=1)
        )


C = TypeVar("C", bound=Conditioned)
L = TypeVar("L", bound=nn.Module)


def zeroed(layer: L) -> L:
    """The layer, with zeros for weights."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def copied(make: Callable[[], C], base: ModelMixin, weights: Callable[[C], Mapping[str, Tensor]]) -> C:
    """A trainable copy of parts of a base, whose type and device it has.

    Within `torch.device("meta")` it has sizes only.

    Args:
        make: builds it.
        base: whose parts are copied.
        weights: those of the base that the copy has, under the copy's names; all but `condition_in`.
    """
    here = torch.empty(0).device
    with torch.device("meta"):  # neither memory nor time for random weights
        control = make()
        nn.Module.to(control, dtype=base.dtype)
    if here.type == "meta":
        return control
    control.to_empty(device=base.device)
    zeroed(control.condition_in)
    own = {f"condition_in.{name}": value for name, value in control.condition_in.state_dict().items()}
    control.load_state_dict({**weights(control), **own})
    return control
