"""ID-Ctrl: a trainable copy of the UNet's encoder that fits identity tokens to the 3D face (Eq. 12 to 14)."""

from typing import Any

import torch
from diffusers import ControlNetModel, UNet2DConditionModel

# Its own name, since a pipeline's from_pretrained looks for it in the module of a part's class.
from diffusers import ModelMixin as ModelMixin
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

from diffpc.diffusion.conditioned import Conditioned, copied, zeroed

COPIED = (
    "time_proj",
    "time_embedding",
    "add_time_proj",
    "add_embedding",
    "conv_in",
    "down_blocks",
    "mid_block",
)
"""The parts that ID-Ctrl has in common with the UNet, under the UNet's names."""


class IDCtrl(Conditioned):
    """(z_t, t, z_3d, F'_id) -> c_id, a pyramid of features: one per skip connection and one for the middle.

    Identity tokens stand where the UNet has text. z_3d enters through a zero-initialised 3 x 3 convolution that
    is added to `conv_in(z_t)`, before the first block and so in every feature (method.md, point 1); it is
    constant over the steps and embedded apart from them. Built with `skin`, the convolution reads z_skin beside
    z_3d. Untrained, and with text for identity, the pyramid is the UNet's own. ControlNet's zero convolutions
    behind each feature are the injectors' `align` here: with text and additive injectors it is a ControlNet for
    the 3D face.
    """

    _supports_gradient_checkpointing = True

    @register_to_config
    def __init__(self, encoder: dict[str, Any], skin: bool = False) -> None:
        """Build with random weights.

        Args:
            encoder: the arguments of `diffusers.ControlNetModel` that describe a UNet's encoder.
            skin: whether it is told the reference's skin too (`face3d.skin`), which the paper's is not.
        """
        super().__init__()
        donor = ControlNetModel(**encoder)
        for name in COPIED:
            setattr(self, name, getattr(donor, name))
        first_width = donor.config["block_out_channels"][0]
        channels = donor.config["in_channels"] * (2 if skin else 1)
        self.condition_in = zeroed(nn.Conv2d(channels, first_width, 3, padding=1))

    @classmethod
    def from_unet(cls, unet: UNet2DConditionModel, skin: bool = False) -> "IDCtrl":
        """A trainable copy of a UNet's encoder and middle block, its weights included.

        It has the UNet's type and device; within `torch.device("meta")` it has sizes only.
        """

        def weights(_: IDCtrl) -> dict[str, Tensor]:
            return {name: value for name, value in unet.state_dict().items() if name.split(".")[0] in COPIED}

        return copied(lambda: cls(encoder=_encoder_arguments(unet), skin=skin), unet, weights)

    def forward(
        self,
        z_t: Float[Tensor, "B C H W"],
        timesteps: Tensor,
        identity: Float[Tensor, "B N D"],
        condition: Float[Tensor, "B W0 H W"],
        added: dict[str, Tensor],
    ) -> tuple[Tensor, ...]:
        """c_id, from the finest skip connection to the middle block.

        Args:
            z_t: noisy latents.
            timesteps: (B,) or scalar.
            identity: F'_id, or the text of a plain ControlNet, at the UNet's cross-attention width.
            condition: from `embed_condition`.
            added: the UNet's `text_embeds` (B, P) and `time_ids` (B, 6).
        """
        embedding = self._time(timesteps, z_t, added)
        hidden = self.conv_in(z_t) + condition
        features = [hidden]
        for block in self.down_blocks:
            attends = getattr(block, "has_cross_attention", False)
            told = {"encoder_hidden_states": identity} if attends else {}
            hidden, skips = block(hidden, embedding, **told)
            features.extend(skips)
        features.append(self.mid_block(hidden, embedding, encoder_hidden_states=identity))
        return tuple(features)

    def _time(self, timesteps: Tensor, z_t: Tensor, added: dict[str, Tensor]) -> Tensor:
        """The UNet's own time and pooled-text condition (method.md, point 9), in its order of casts."""
        steps = torch.as_tensor(timesteps, device=z_t.device).expand(len(z_t))
        embedding = self.time_embedding(self.time_proj(steps).to(z_t.dtype))
        sizes = self.add_time_proj(added["time_ids"].flatten()).reshape(len(z_t), -1)
        pooled = torch.cat([added["text_embeds"], sizes.to(added["text_embeds"].dtype)], dim=-1)
        return embedding + self.add_embedding(pooled.to(z_t.dtype))


def _encoder_arguments(unet: UNet2DConditionModel) -> dict[str, Any]:
    with torch.device("meta"):  # only the mapping of names is wanted, not the weights
        donor = ControlNetModel.from_unet(unet, load_weights_from_unet=False)
    return {name: value for name, value in donor.config.items() if not name.startswith("_")}
