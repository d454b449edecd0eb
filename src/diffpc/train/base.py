"""Training of a base model from scratch: text encoders and UNet on cached latents."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from diffpc.diffusion.backbone import Backbone, encode_token_ids
from diffpc.train import loss
from diffpc.train.positions import Drawn


@dataclass(frozen=True)
class BaseData:
    """What is constant per training image."""

    latents: Float[Tensor, "N C H W"]
    """VAE latents times the scaling factor."""
    captions: Int[Tensor, "N K T"]
    """Token ids of several captions per image."""
    empty: Int[Tensor, " T"]
    """Token ids of the empty prompt."""


class BaseTask:
    """Text-to-image training by Eq. 1 and Eq. 3, with both text encoders trained along; the VAE is not used."""

    def __init__(self, backbone: Backbone, data: BaseData, text_drop: float = 0.1) -> None:
        self.backbone = backbone
        self.data = data
        self.text_drop = text_drop

    def modules(self) -> Mapping[str, nn.Module]:
        """UNet and text encoders."""
        return self.backbone.networks()

    def frozen(self) -> Mapping[str, nn.Module]:
        """Nothing: latents are cached."""
        return {}

    def samples(self, seed: int) -> Drawn:
        """Latents, noise, timestep and a caption's tokens."""
        return Drawn(seed, self._draw, lambda sample: f"image {int(sample['index'])}")

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Squared error of the prediction."""
        scheduler = self.backbone.scheduler
        z_0, noise, timesteps = batch["z_0"], batch["noise"], batch["timestep"]
        z_t = loss.noised(z_0, noise, timesteps, scheduler)
        prediction = self._predict(z_t, timesteps, batch["tokens"])
        return {"total": loss.diffusion_loss(prediction, loss.target(z_0, noise, timesteps, scheduler))}

    def _draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(self.data.latents), (), generator=generator)
        z_0 = self.data.latents[index].float()
        levels = int(self.backbone.scheduler.config["num_train_timesteps"])
        return {
            "index": index,
            "z_0": z_0,
            "noise": torch.randn(z_0.shape, generator=generator),
            "timestep": torch.randint(levels, (), generator=generator),
            "tokens": drawn_caption(self.data.captions[index], self.data.empty, self.text_drop, generator),
        }

    def _predict(self, z_t: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        parts = self.backbone
        text = encode_token_ids(tokens, tokens, (parts.text_encoder, parts.text_encoder_2))
        return parts.unet(
            z_t.contiguous(memory_format=torch.channels_last),
            timesteps,
            encoder_hidden_states=text.tokens,
            added_cond_kwargs=parts.added(text, z_t),
        ).sample


def drawn_caption(
    captions: Int[Tensor, "K T"], empty: Int[Tensor, " T"], drop: float, generator: torch.Generator
) -> Int64[Tensor, " T"]:
    """One of an image's K captions, or the empty prompt with probability `drop`."""
    pick = torch.randint(len(captions), (), generator=generator)
    dropped = torch.rand((), generator=generator) < drop
    return (empty if dropped else captions[pick]).long()
