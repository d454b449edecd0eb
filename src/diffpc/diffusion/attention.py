"""The library's attention in parts, bit for bit, for processors that get keys and values from elsewhere."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Any

from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

KeysValues = tuple[Tensor, Tensor]
"""Keys and values, each (B, T, C), all heads side by side."""

Processor = Callable[..., Tensor]
"""(attention, queries' states, keys' states, ...) -> output, as the library calls it."""


def projected(attn: Any, states: Tensor) -> KeysValues:
    """Keys and values of (B, T, D) states.

    Args:
        attn: the `Attention`; Any: its projections are declared as possibly absent.
        states: text or identity tokens.
    """
    return attn.to_k(states), attn.to_v(states)


def attended(query: Tensor, keys_values: KeysValues, heads: int) -> Tensor:
    """Scaled dot-product attention of (B, L, C) queries, heads side by side again, as `AttnProcessor2_0` has it."""
    key, value = keys_values
    mixed = nn.functional.scaled_dot_product_attention(
        _split(query, heads), _split(key, heads), _split(value, heads)
    )
    return mixed.transpose(1, 2).flatten(2).to(query.dtype)


def projected_out(attn: Any, mixed: Tensor) -> Tensor:
    """The layer's output for attended values; `attn` as in `projected`."""
    return attn.to_out[1](attn.to_out[0](mixed))


@contextmanager
def processed_by(processors: Mapping[Attention, Processor]) -> Generator[None]:
    """Within the context these attentions have these processors; afterwards their own again."""
    replaced: dict[Any, Processor] = dict(processors)  # Any: declared to hold two kinds of processors only
    before = {attention: attention.processor for attention in replaced}
    for attention, processor in replaced.items():
        attention.processor = processor
    try:
        yield
    finally:
        for attention, processor in before.items():
            attention.processor = processor


def _split(states: Tensor, heads: int) -> Tensor:
    return states.unflatten(-1, (heads, -1)).transpose(1, 2)
