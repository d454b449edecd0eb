"""Training of a base model from scratch: text encoders and UNet on cached latents."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from diffpc.diffusion.backbone import Backbone, encode_token_ids
from diffpc.train import loss
from diffpc.train.positions import Samples


class BaseTask:
    """Text-to-image training by Eq. 1 and Eq. 3, with both text encoders trained along; the VAE is not used.

    Samples hold z_0 and noise (C, H, W), timestep (), tokens and tokens_2 (T,).
    """

    def __init__(self, backbone: Backbone, samples: Callable[[int], Samples]) -> None:
        """Put the parts together.

        Args:
            backbone: whose UNet and text encoders are trained.
            samples: seed -> the sequence of samples.
        """
        self.backbone, self.samples = backbone, samples

    def modules(self) -> Mapping[str, nn.Module]:
        """UNet and text encoders."""
        return self.backbone.networks()

    def frozen(self) -> Mapping[str, nn.Module]:
        """Nothing: latents are cached."""
        return {}

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Squared error of the prediction."""
        parts = self.backbone
        z_0, noise, timesteps = batch["z_0"].float(), batch["noise"], batch["timestep"]
        z_t = loss.noised(z_0, noise, timesteps, parts.scheduler)
        encoders = (parts.text_encoder, parts.text_encoder_2)
        text = encode_token_ids(batch["tokens"], batch["tokens_2"], encoders)
        prediction = parts.unet(
            z_t.contiguous(memory_format=torch.channels_last),
            timesteps,
            encoder_hidden_states=text.tokens,
            added_cond_kwargs=parts.added(text, z_t),
        ).sample
        wanted = loss.target(z_0, noise, timesteps, parts.scheduler)
        return {"total": loss.diffusion_loss(prediction, wanted)}
