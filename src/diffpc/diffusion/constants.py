"""Keys and values of inputs that stay the same over all steps, computed once per image.

Text in the UNet and identity tokens in ID-Ctrl do not change while an image is denoised, but their projections
are computed at every step: at SDXL size one eighth of a step's weight reads. The result is the same bit for
bit.
"""

from contextlib import AbstractContextManager
from typing import Any, cast

from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn

from diffpc.diffusion.attention import KeysValues, attended, processed_by, projected, projected_out


class ConstantKeysValues:
    """Scaled dot-product attention that keeps the keys and values of its first call."""

    def __init__(self) -> None:
        self.kept: KeysValues | None = None

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any
    ) -> Tensor:
        """Attention of (B, L, C) states to constant (B, T, D) states, as `AttnProcessor2_0` computes it.

        Args:
            attn: the `Attention`; Any: its projections are declared as possibly absent.
            hidden_states: the queries' side.
            encoder_hidden_states: read at the first call only.
        """
        keys_values = self.keys_values(attn, encoder_hidden_states)
        return projected_out(attn, attended(attn.to_q(hidden_states), keys_values, attn.heads))

    def keys_values(self, attn: Any, encoder_hidden_states: Tensor) -> KeysValues:
        """Those of the first call; arguments as in a call."""
        if self.kept is None:
            self.kept = projected(attn, encoder_hidden_states)
        return self.kept


def constant_keys_values(*networks: nn.Module) -> AbstractContextManager[None]:
    """Within the context, the networks' cross-attention inputs are taken to be those of the first step.

    Only plain attention is replaced: an IP-Adapter's processors, say, stay as they are.
    """
    return processed_by(
        {
            module: ConstantKeysValues()
            for network in networks
            for module in network.modules()
            if isinstance(module, Attention)
            and module.is_cross_attention
            and type(cast(object, module.processor)) is AttnProcessor2_0
        }
    )


def keep(network: nn.Module, states: Tensor) -> None:
    """Compute the keys and values now, within `constant_keys_values`, instead of at the first step.

    A compiled step then has one form, not a first and a later one. An offloaded network is not there yet.

    Args:
        network: one of those whose inputs are constant.
        states: what its cross-attentions will be told, (B, T, D).
    """
    for module in network.modules():
        if isinstance(module, Attention) and isinstance(cast(object, module.processor), ConstantKeysValues):
            cast(ConstantKeysValues, module.processor).keys_values(module, states)
