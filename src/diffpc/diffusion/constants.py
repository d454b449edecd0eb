"""Keys and values of inputs that stay the same over all steps, computed once per image.

Text in the UNet and identity tokens in ID-Ctrl do not change while an image is denoised, but their projections
are computed at every step: at SDXL size one eighth of a step's weight reads. The result is the same bit for
bit.
"""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any, cast

from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from torch import Tensor, nn


class ConstantKeysValues:
    """Scaled dot-product attention that keeps the keys and values of its first call."""

    def __init__(self) -> None:
        self.kept: tuple[Tensor, Tensor] | None = None

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any
    ) -> Tensor:
        """Attention of (B, L, C) states to constant (B, T, D) states, as `AttnProcessor2_0` computes it.

        Args:
            attn: the `Attention`; Any: its projections are declared as possibly absent.
            hidden_states: the queries' side.
            encoder_hidden_states: read at the first call only.
        """
        if self.kept is None:
            key, value = attn.to_k(encoder_hidden_states), attn.to_v(encoder_hidden_states)
            self.kept = (_split(key, attn.heads), _split(value, attn.heads))
        key, value = self.kept
        query = _split(attn.to_q(hidden_states), attn.heads)
        mixed = nn.functional.scaled_dot_product_attention(query, key, value)
        merged = mixed.transpose(1, 2).flatten(2).to(query.dtype)
        return attn.to_out[1](attn.to_out[0](merged))


@contextmanager
def constant_keys_values(*networks: nn.Module) -> Generator[None]:
    """Within the context, the networks' cross-attention inputs are taken to be those of the first step.

    Only plain attention is replaced: an IP-Adapter's processors, say, stay as they are.
    """
    attentions: list[Any] = [  # Any: declared to hold two kinds of processors only
        module
        for network in networks
        for module in network.modules()
        if isinstance(module, Attention)
        and module.is_cross_attention
        and type(cast(object, module.processor)) is AttnProcessor2_0
    ]
    before = [attention.processor for attention in attentions]
    for attention in attentions:
        attention.processor = ConstantKeysValues()
    try:
        yield
    finally:
        for attention, processor in zip(attentions, before, strict=True):
            attention.processor = processor


def _split(states: Tensor, heads: int) -> Tensor:
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)
