"""ID-Ctrl for a transformer: a trainable copy of its first blocks (Eq. 12 to 14)."""

from typing import Any

import torch
from diffusers import SD3Transformer2DModel
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

from diffpc.diffusion.conditioned import Conditioned, copied, zeroed
from diffpc.errors import UsageError

COPIED = ("pos_embed", "time_text_embed", "transformer_blocks")
"""The parts that ID-Ctrl has in common with the transformer, under the transformer's names."""


class FlowIDCtrl(Conditioned):
    """(z_t, t, z_3d, F'_id) -> c_id: the image tokens behind each copied block, as feature maps.

    Identity tokens stand in the joint attention where the transformer has its embedded text, or behind the text.
    They have the transformer's own width and enter behind its text embedding, which is copied for the text alone.
    z_3d, and built with `skin` z_skin beside it, enter through a zero-initialised patch embedding that is added to
    that of z_t, as in `diffpc.diffusion.control.IDCtrl`. Untrained, and told text alone, the features are the
    transformer's own. What nothing reads, the last copied block's answer to the tokens, is left out of the copy, and
    what the library needs of it is not trained.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(self, blocks: dict[str, Any], skin: bool = False, beside_text: bool = False) -> None:
        """Build with random weights.

        Args:
            blocks: the arguments of `diffusers.SD3Transformer2DModel` for a transformer of the copied blocks alone.
            skin: whether it is told the reference's skin too, which the paper's is not.
            beside_text: whether it reads the text too, the identity tokens behind it; else in its place.
        """
        super().__init__()
        donor = SD3Transformer2DModel(**blocks)
        for name in (*COPIED, "context_embedder") if beside_text else COPIED:
            setattr(self, name, getattr(donor, name))
        patch, channels = donor.config["patch_size"], donor.config["in_channels"] * (2 if skin else 1)
        self.condition_in = zeroed(nn.Conv2d(channels, donor.inner_dim, patch, stride=patch))
        last = self.transformer_blocks[-1].attn
        for unread in filter(None, (last.add_q_proj, last.norm_added_q)):
            unread.requires_grad_(False)  # the tokens' questions, which the library asks all the same
        self.gradient_checkpointing = False

    @classmethod
    def from_transformer(
        cls,
        transformer: SD3Transformer2DModel,
        layers: int | None = None,
        skin: bool = False,
        beside_text: bool = False,
    ) -> "FlowIDCtrl":
        """A trainable copy of a transformer's first blocks, their weights included.

        It has the transformer's type and device; within `torch.device("meta")` it has sizes only.

        Args:
            transformer: the base.
            layers: how many blocks; None copies half of them, as SD3's ControlNets do.
            skin: see the constructor.
            beside_text: see the constructor.

        Raises:
            UsageError: for none, or more than there are places to inject what they say: one less than its blocks.
        """
        return copied(
            lambda: cls(blocks=_first_blocks(transformer, layers), skin=skin, beside_text=beside_text),
            transformer,
            lambda control: _fitting(transformer.state_dict(), control.state_dict()),
        )

    def forward(
        self,
        z_t: Float[Tensor, "B C H W"],
        timesteps: Float[Tensor, " B"],
        identity: Float[Tensor, "B N D"],
        condition: Float[Tensor, "B D h w"],
        pooled: Float[Tensor, "B P"],
        text: Float[Tensor, "B T E"] | None = None,
    ) -> tuple[Float[Tensor, "B D h w"], ...]:
        """c_id, from the first copied block to the last.

        Args:
            z_t: noisy latents.
            timesteps: the flow's t times the number of training timesteps.
            identity: F'_id, at the transformer's width.
            condition: from `embed_condition`.
            pooled: the prompt's pooled vector: the time and text condition is the base's (method.md, point 9).
            text: the prompt's tokens, if it was built to read them.
        """
        told = identity if text is None else torch.cat([self.context_embedder(text), identity], dim=1)
        embedding = self.time_text_embed(timesteps, pooled)
        hidden = self.pos_embed(z_t) + condition.flatten(2).transpose(1, 2)
        features: list[Tensor] = []
        for block in self.transformer_blocks:
            told, hidden = self._run(block, hidden, told, embedding)
            features.append(hidden.transpose(1, 2).unflatten(-1, condition.shape[-2:]))
        return tuple(features)

    def _run(self, block: Any, *arguments: Any) -> tuple[Any, Tensor]:
        """Any: behind the last block there are no tokens; and the library declares its function as None."""
        checkpoint: Any = self._gradient_checkpointing_func
        if self.gradient_checkpointing and torch.is_grad_enabled():
            return checkpoint(block, *arguments)
        return block(*arguments)


def _first_blocks(transformer: SD3Transformer2DModel, layers: int | None) -> dict[str, Any]:
    """The arguments of a transformer of the first blocks alone."""
    config = {name: value for name, value in transformer.config.items() if not name.startswith("_")}
    known = int(config["num_layers"])
    layers = known // 2 if layers is None else layers
    if not 1 <= layers < known:
        raise UsageError(
            f"layers is {layers}, expected 1 to {known - 1}: one for each place behind a block at most"
        )
    dual = [place for place in config["dual_attention_layers"] if place < layers]
    return config | {"num_layers": layers, "dual_attention_layers": dual}


def _fitting(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """The transformer's weights that the copy has.

    Of six modulations of the tokens its last block has only the first two, which the library orders the other way
    round in a last block.
    """
    found = {name: value for name, value in weights.items() if name in own}
    for name, value in found.items():
        if value.shape != own[name].shape:
            shift, scale, *_ = value.chunk(6)
            found[name] = torch.cat([scale, shift])
    return found
