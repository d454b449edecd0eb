"""The base model: SDXL's components, built from settings at any size, and its text encoding."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from jaxtyping import Float, Int, Int64
from torch import Tensor, nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer

from diffpc.settings import BackboneSettings, TextEncoderSettings


@dataclass(frozen=True)
class Backbone:
    """The frozen parts, under the names of diffusers' SDXL pipelines."""

    vae: AutoencoderKL
    text_encoder: CLIPTextModel
    text_encoder_2: CLIPTextModelWithProjection
    unet: UNet2DConditionModel
    scheduler: DDIMScheduler

    def networks(self) -> dict[str, nn.Module]:
        """What a base learns on finished latents, by the names of the pipeline's components."""
        return {
            "unet": self.unet,
            "text_encoder": self.text_encoder,
            "text_encoder_2": self.text_encoder_2,
        }

    def added(self, text: "TextCondition", z_t: Float[Tensor, "B C H W"]) -> dict[str, Tensor]:
        """The UNet's `text_embeds` (B, P) and `time_ids` (B, 6) for latents of uncropped pictures."""
        height, width = (downscale(self.vae) * side for side in z_t.shape[-2:])
        return {"text_embeds": text.pooled, "time_ids": size_conditions(height, width, len(z_t), z_t)}


@dataclass(frozen=True)
class TextCondition:
    """What the UNet is told in words."""

    tokens: Float[Tensor, "B T D"]
    """Penultimate hidden states of both encoders, side by side."""
    pooled: Float[Tensor, "B P"]
    """The second encoder's projected sentence vector."""


def build(settings: BackboneSettings) -> Backbone:
    """The components with random weights; under `torch.device("meta")` without any."""
    return Backbone(
        vae=build_vae(settings),
        text_encoder=CLIPTextModel(_text_config(settings.text_encoder)),
        text_encoder_2=CLIPTextModelWithProjection(_text_config(settings.text_encoder_2)),
        unet=build_unet(settings),
        scheduler=build_scheduler(settings),
    )


def build_vae(settings: BackboneSettings) -> AutoencoderKL:
    """SDXL's autoencoder at the size of the settings; every level but the last halves the side."""
    vae = settings.vae
    levels = len(vae.block_out_channels)
    arguments: dict[str, Any] = {  # Any: the library declares tuples of one entry
        "down_block_types": ("DownEncoderBlock2D",) * levels,
        "up_block_types": ("UpDecoderBlock2D",) * levels,
        "block_out_channels": vae.block_out_channels,
        "layers_per_block": vae.layers_per_block,
        "latent_channels": vae.latent_channels,
        "norm_num_groups": vae.norm_num_groups,
        "scaling_factor": vae.scaling_factor,
        "mid_block_add_attention": vae.mid_block_add_attention,
        "sample_size": settings.size,
    }
    return AutoencoderKL(**arguments)


def build_unet(settings: BackboneSettings) -> UNet2DConditionModel:
    """SDXL's UNet (one plain and two attention levels, pooled text and sizes added to the time)."""
    unet = settings.unet
    pooled = settings.text_encoder_2.projection
    arguments: dict[str, Any] = {  # Any: the library declares tuples of one entry
        "sample_size": settings.size // 2 ** (len(settings.vae.block_out_channels) - 1),
        "in_channels": settings.vae.latent_channels,
        "out_channels": settings.vae.latent_channels,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        "block_out_channels": unet.block_out_channels,
        "layers_per_block": unet.layers_per_block,
        "transformer_layers_per_block": unet.transformer_layers_per_block,
        "attention_head_dim": unet.attention_head_dim,
        "cross_attention_dim": settings.text_width,
        "use_linear_projection": True,
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": unet.addition_time_embed_dim,
        "projection_class_embeddings_input_dim": pooled + 6 * unet.addition_time_embed_dim,
        "norm_num_groups": unet.norm_num_groups,
    }
    return UNet2DConditionModel(**arguments)


def build_scheduler(settings: BackboneSettings) -> DDIMScheduler:
    """DDIM, trailing, ending at the clean image, as SDXL-Lightning needs it (method.md, point 14)."""
    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule=settings.beta_schedule,
        clip_sample=False,
        set_alpha_to_one=True,
        prediction_type=settings.prediction_type,
        timestep_spacing="trailing",
        rescale_betas_zero_snr=settings.rescale_betas_zero_snr,
    )


def downscale(vae: AutoencoderKL) -> int:
    """Pixels per latent along a side: 8 for SDXL."""
    return 2 ** (len(vae.config["block_out_channels"]) - 1)


def scaled(latents: Float[Tensor, "B C h w"], vae: AutoencoderKL) -> Float[Tensor, "B C h w"]:
    """Posterior modes as the denoiser has them: less the VAE's shift, where it has one, times its factor."""
    shift = vae.config["shift_factor"]
    return (latents if shift is None else latents - shift) * vae.config["scaling_factor"]


def unscaled(latents: Float[Tensor, "B C h w"], vae: AutoencoderKL) -> Float[Tensor, "B C h w"]:
    """The inverse of `scaled`: what the VAE decodes."""
    shift, found = vae.config["shift_factor"], latents / vae.config["scaling_factor"]
    return found if shift is None else found + shift


@contextmanager
def in_range(vae: AutoencoderKL) -> Generator[None]:
    """Within the context a VAE that overflows float16 (`force_upcast`, as SDXL's) runs in float32."""
    narrow = vae.dtype == torch.float16 and bool(vae.config["force_upcast"])
    if narrow:  # torch's own `to`: the library's warns of every cast
        nn.Module.to(vae, dtype=torch.float32)
    try:
        yield
    finally:
        if narrow:
            nn.Module.to(vae, dtype=torch.float16)


def encode_text(
    prompts: list[str],
    tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
    encoders: tuple[CLIPTextModel, CLIPTextModelWithProjection],
    device: torch.device | None = None,
) -> TextCondition:
    """Prompts as SDXL sees them; longer ones are cut at the tokenizers' length.

    Args:
        prompts: one per row.
        tokenizers: of both encoders.
        encoders: the text encoders.
        device: where they run; None is where they are, which differs while they are offloaded.
    """
    device = device or encoders[0].device
    first, second = (token_ids(prompts, tokenizer).to(device) for tokenizer in tokenizers)
    return encode_token_ids(first, second, encoders)


def token_ids(prompts: list[str], tokenizer: CLIPTokenizer) -> Int64[Tensor, "B T"]:
    """Prompts in a tokenizer's vocabulary, padded to its length; longer ones are cut."""
    length = tokenizer.model_max_length
    found = tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
    return found.input_ids


def encode_token_ids(
    first: Int[Tensor, "B T"],
    second: Int[Tensor, "B T"],
    encoders: tuple[CLIPTextModel, CLIPTextModelWithProjection],
) -> TextCondition:
    """Token ids of both vocabularies -> text condition."""
    output = encoders[0](first, output_hidden_states=True)
    output_2 = encoders[1](second, output_hidden_states=True)
    tokens = torch.cat([output.hidden_states[-2], output_2.hidden_states[-2]], dim=-1)
    return TextCondition(tokens=tokens, pooled=output_2.text_embeds)


def size_conditions(height: int, width: int, batch: int, like: Tensor) -> Float[Tensor, "B 6"]:
    """SDXL's micro-conditions: original size, crop corner, target size (arXiv 2307.01952, section 2.2)."""
    values = torch.tensor([height, width, 0, 0, height, width], dtype=like.dtype, device=like.device)
    return values.expand(batch, 6)


def _text_config(settings: TextEncoderSettings) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=settings.vocabulary,
        hidden_size=settings.hidden_size,
        intermediate_size=4 * settings.hidden_size,
        num_hidden_layers=settings.layers,
        num_attention_heads=settings.heads,
        max_position_embeddings=settings.length,
        hidden_act=settings.activation,
        projection_dim=settings.projection,
        pad_token_id=settings.vocabulary - 1,
        bos_token_id=settings.vocabulary - 2,
        eos_token_id=settings.vocabulary - 1,
    )
