"""Training of a base model from scratch: text encoders and UNet on cached latents."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn

from diffpc.diffusion.backbone import Backbone, downscale, encode_token_ids, size_conditions
from diffpc.train import loss


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
    """Text-to-image training by Eq. 1 and Eq. 3, with both text encoders trained along; the VAE is not used.

    The data may stay on the CPU: batches are moved to where the UNet is.
    """

    def __init__(self, backbone: Backbone, data: BaseData, text_drop: float = 0.1) -> None:
        self.backbone = backbone
        self.data = data
        self.text_drop = text_drop

    def modules(self) -> Mapping[str, nn.Module]:
        """UNet and text encoders."""
        parts = self.backbone
        return {
            "unet": parts.unet,
            "text_encoder": parts.text_encoder,
            "text_encoder_2": parts.text_encoder_2,
        }

    def losses(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Mean squared error of the prediction on one batch."""
        scheduler, device = self.backbone.scheduler, self.backbone.unet.device
        index = torch.randint(len(self.data.latents), (batch,), generator=generator)
        z_0 = self.data.latents[index].float().to(device)
        tokens = drawn_captions(self.data.captions[index], self.data.empty, self.text_drop, generator)
        noise = torch.randn(z_0.shape, generator=generator).to(device)
        levels = int(scheduler.config["num_train_timesteps"])
        timesteps = torch.randint(levels, (batch,), generator=generator).to(device)
        z_t = loss.noised(z_0, noise, timesteps, scheduler)
        prediction = self._predict(z_t, timesteps, tokens.to(device))
        wanted = loss.target(z_0, noise, timesteps, scheduler)
        return {"total": loss.diffusion_loss(prediction, wanted)}

    def _predict(self, z_t: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        parts = self.backbone
        text = encode_token_ids(tokens, tokens, (parts.text_encoder, parts.text_encoder_2))
        height, width = (downscale(parts.vae) * side for side in z_t.shape[-2:])
        added = {"text_embeds": text.pooled, "time_ids": size_conditions(height, width, len(z_t), z_t)}
        return parts.unet(
            z_t.contiguous(memory_format=torch.channels_last),
            timesteps,
            encoder_hidden_states=text.tokens,
            added_cond_kwargs=added,
        ).sample


def drawn_captions(
    captions: Int[Tensor, "B K T"], empty: Int[Tensor, " T"], drop: float, generator: torch.Generator
) -> Int64[Tensor, "B T"]:
    """One of the K captions per image, or the empty prompt with probability `drop`."""
    batch, count, _ = captions.shape
    pick = torch.randint(count, (batch,), generator=generator)
    chosen = captions[torch.arange(batch), pick].long()
    dropped = torch.rand(batch, generator=generator) < drop
    return torch.where(dropped[:, None], empty.long(), chosen)
