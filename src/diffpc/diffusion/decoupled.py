"""Decoupled cross-attention: the UNet attends to identity tokens beside the text (a row of the paper's Table 5).

IP-Adapter (arXiv 2308.06721, section 3.2.2; tencent-ailab/IP-Adapter @ 1ae324a, Apache-2.0):
softmax(Q K^T / sqrt(d)) V + s * softmax(Q K'^T / sqrt(d)) V', where K', V' are new projections of the identity
tokens, Q, K, V the UNet's own, and the output projection comes behind the sum.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin, Transformer2DModel, UNet2DConditionModel
from diffusers.configuration_utils import register_to_config
from diffusers.models.attention_processor import Attention
from jaxtyping import Float
from torch import Tensor, nn

from diffpc.diffusion.attention import KeysValues, attended, processed_by, projected, projected_out
from diffpc.diffusion.constants import ConstantKeysValues
from diffpc.diffusion.injector import Strength


class IDAttention(ModelMixin, ConfigMixin):
    """K' and V' for each cross-attention of a UNet.

    They are constant over the steps, so they are computed once, here, and passed on to `attached`.
    """

    @register_to_config
    def __init__(self, width: int, places: Sequence[str], widths: Sequence[int]) -> None:
        """Build with random keys and with zeros for values: untrained, the sum is the UNet's own.

        Args:
            width: d, of the identity tokens.
            places: the cross-attentions' names in the UNet.
            widths: of their keys and values.
        """
        super().__init__()
        self.places = list(places)
        self.to_keys = nn.ModuleList(nn.Linear(width, inner, bias=False) for inner in widths)
        self.to_values = nn.ModuleList(nn.Linear(width, inner, bias=False) for inner in widths)
        for parameter in self.to_values.parameters():
            nn.init.zeros_(parameter)

    @classmethod
    def from_unet(cls, unet: UNet2DConditionModel) -> "IDAttention":
        """Untrained, for a UNet; its keys start as the UNet's, as IP-Adapter's do."""
        found = _cross_attentions(unet)
        attention = cls(
            width=int(unet.config["cross_attention_dim"]),
            places=list(found),
            widths=[int(one.to_k.out_features) for one in found.values()],
        )
        with torch.no_grad():
            for key, one in zip(attention.to_keys, found.values(), strict=True):
                key.get_parameter("weight").copy_(one.to_k.weight)
        return attention

    def forward(self, identity: Float[Tensor, "B N d"]) -> tuple[KeysValues, ...]:
        """K' and V' of F'_id, one pair per place."""
        pairs = zip(self.to_keys, self.to_values, strict=True)
        return tuple((key(identity), value(identity)) for key, value in pairs)


class Decoupled:
    """The processor of one cross-attention while identity tokens are attached."""

    def __init__(
        self, text: Callable[..., KeysValues], identity: KeysValues, strength: float | Float[Tensor, "B 1 1"]
    ) -> None:
        """Bind what is constant within a step.

        Args:
            text: (attention, text tokens) -> K, V.
            identity: K', V'.
            strength: s.
        """
        self.text = text
        self.identity = identity
        self.strength = strength

    def __call__(
        self, attn: Any, hidden_states: Tensor, encoder_hidden_states: Tensor, *_: Any, **__: Any
    ) -> Tensor:
        """Attention of (B, L, C) states to (B, T, D) text and to the identity tokens.

        Args:
            attn: the `Attention`; Any: its projections are declared as possibly absent.
            hidden_states: the queries' side.
            encoder_hidden_states: the text.
        """
        query = attn.to_q(hidden_states)
        words = attended(query, self.text(attn, encoder_hidden_states), attn.heads)
        face = attended(query, self.identity, attn.heads)
        return projected_out(attn, words + self.strength * face)


@contextmanager
def attached(
    unet: UNet2DConditionModel,
    attention: IDAttention,
    keys_values: Sequence[KeysValues],
    strength: Strength = 1.0,
) -> Generator[None]:
    """Within the context the UNet attends to identity tokens, too; afterwards it is as it was before.

    Outputs made within can be differentiated afterwards, with activation checkpointing, too. Keys and values of
    the text that `constant_keys_values` keeps stay kept.

    Args:
        unet: the frozen UNet, its attention scaled dot-product attention.
        attention: made for it by `IDAttention.from_unet`.
        keys_values: what `attention` made of the identity tokens.
        strength: 0 gives the base model's output.

    Raises:
        ValueError: if there is not one pair per place.
    """
    scale = (
        strength.squeeze(-1) if isinstance(strength, Tensor) else strength
    )  # states have no height and width
    found: list[Any] = [unet.get_submodule(place) for place in attention.places]
    processors = {
        one: Decoupled(_text_of(one.processor), identity, scale)
        for one, identity in zip(found, keys_values, strict=True)
    }
    with ExitStack() as undo:
        undo.enter_context(processed_by(processors))
        for module in unet.modules():
            if isinstance(module, Transformer2DModel) and module.gradient_checkpointing:
                undo.enter_context(_checkpointed(module, processors))
        yield


@contextmanager
def _checkpointed(transformer: Any, processors: dict[Any, Decoupled]) -> Generator[None]:
    """The backward pass runs checkpointed blocks again when the UNet is as before: they bring their processors."""
    original = transformer._gradient_checkpointing_func

    def checkpoint(block: nn.Module, *arguments: Any) -> Tensor:
        own: dict[Any, Decoupled] = {one: processors[one] for one in block.modules() if one in processors}

        def processed(*states: Any) -> Tensor:
            with processed_by(own):
                return block(*states)

        return original(processed, *arguments)

    transformer._gradient_checkpointing_func = checkpoint
    try:
        yield
    finally:
        transformer._gradient_checkpointing_func = original


def _text_of(processor: object) -> Callable[..., KeysValues]:
    """Where the text's keys and values come from: kept ones stay kept."""
    return processor.keys_values if isinstance(processor, ConstantKeysValues) else projected


def _cross_attentions(unet: UNet2DConditionModel) -> dict[str, Any]:
    """Name -> cross-attention; Any: its projections are declared as possibly absent."""
    return {
        name: module
        for name, module in unet.named_modules()
        if isinstance(module, Attention) and module.is_cross_attention
    }
