"""Training in the manner of diffusers' example script: nothing cached, everything in the step.

The flow follows huggingface/diffusers, examples/controlnet/train_controlnet_sdxl.py @ 000280f (Apache-2.0): the
target is encoded by the VAE in the step, ControlNet starts as a copy of the UNet's encoder, its features are added
to the UNet's, squared error on noise or v, AdamW, Accelerate. Two departures, both to the script's advantage: the
VAE runs in the run's precision, not in float32, and AdamW is the fused one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator
from diffusers import ControlNetModel, DDPMScheduler
from torch import Tensor, nn
from torch.nn import functional

from diffpc.bench.parts import LAYOUT, Parts, awaken
from diffpc.bench.samples import Pictures
from diffpc.diffusion.backbone import TextCondition, encode_token_ids
from diffpc.faces.embed import normalise
from diffpc.identity.encoder import IDEncoder
from diffpc.train import loss
from diffpc.train.positions import Share, loader
from diffpc.train.settings import LoopSettings, Recipe


@dataclass(frozen=True)
class Prediction:
    """What the UNet said, and to what."""

    output: Tensor
    """(B, C, H, W)."""
    z_t: Tensor
    """(B, C, H, W)."""
    timesteps: Tensor
    """(B,)."""


class ControlNetTraining:
    """The script as it is: ControlNet on a picture; prompts were encoded before the training."""

    def __init__(self, parts: Parts, recipe: Recipe) -> None:
        self.parts, self.recipe = parts, recipe
        precision = {"float32": "no", "bfloat16": "bf16"}[recipe.engine.precision]
        self.accelerator = Accelerator(mixed_precision=precision)
        made: Any = DDPMScheduler.from_config(parts.backbone.scheduler.config)  # Any: typed as a pair too
        self.scheduler: DDPMScheduler = made
        with torch.device(parts.device):
            trained = self.trained()
        for module in trained.values():
            module.float().requires_grad_(True)
            if recipe.engine.compile:
                module.compile()
        self.networks = {name: self.accelerator.prepare(module) for name, module in trained.items()}
        self.parameters = [value for module in trained.values() for value in module.parameters()]
        self.optimiser = self.accelerator.prepare(_adamw(self.parameters, recipe.loop))
        share = Share(0, recipe.loop.batch, rank=0, world=1, pieces=1)
        pin = parts.device.type == "cuda"
        self.batches = loader(Pictures(recipe, parts, recipe.loop.seed), share, recipe.engine.workers, pin)

    def trained(self) -> dict[str, nn.Module]:
        """The networks that learn."""
        return {"controlnet": awaken(ControlNetModel.from_unet(self.parts.backbone.unet))}

    def step(self) -> float:
        """One optimiser step; returns the loss."""
        batch = {
            name: value.to(self.parts.device, non_blocking=True) for name, value in next(self.batches).items()
        }
        total = self.loss(batch)
        self.accelerator.backward(total)
        self.accelerator.clip_grad_norm_(self.parameters, self.recipe.loop.clip_norm)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        return total.detach().item()

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Squared error of the prediction."""
        return self.diffusion(batch)[0]

    def diffusion(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Prediction]:
        """The squared error, and what it is of."""
        with torch.no_grad():
            z_0 = self.encode(batch["picture"], sampled=True)
        noise = torch.randn_like(z_0)
        steps = self.scheduler.config["num_train_timesteps"]
        timesteps = torch.randint(0, steps, (len(z_0),), device=z_0.device)
        z_t = self.scheduler.add_noise(z_0, noise, timesteps)  # pyright: ignore[reportArgumentType] - int64
        output = self.predict(z_t, timesteps, batch)
        of_noise = self.scheduler.config["prediction_type"] == "epsilon"
        wanted = noise if of_noise else self.scheduler.get_velocity(z_0, noise, timesteps)  # pyright: ignore[reportArgumentType]
        return functional.mse_loss(output.float(), wanted.float()), Prediction(output, z_t, timesteps)

    def predict(self, z_t: Tensor, timesteps: Tensor, batch: Mapping[str, Tensor]) -> Tensor:
        """ControlNet, then the UNet."""
        text = self.text(batch)
        added = self.parts.backbone.added(text, z_t)
        told, condition = self.told(text, batch), self.condition(batch)
        skips, middle = self.networks["controlnet"](
            z_t, timesteps, told, condition, added_cond_kwargs=added, return_dict=False
        )
        return self.parts.backbone.unet(
            z_t,
            timesteps,
            encoder_hidden_states=text.tokens,
            added_cond_kwargs=added,
            down_block_additional_residuals=[skip.to(self.parts.dtype) for skip in skips],
            mid_block_additional_residual=middle.to(self.parts.dtype),
        ).sample

    def text(self, batch: Mapping[str, Tensor]) -> TextCondition:
        """As it was encoded before."""
        return TextCondition(batch["text"].to(self.parts.dtype), batch["pooled"].to(self.parts.dtype))

    def told(self, text: TextCondition, batch: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002 - the naive one looks
        """What stands in ControlNet's cross-attention."""
        return text.tokens

    def condition(self, batch: Mapping[str, Tensor]) -> Tensor:
        """The spatial condition: pixels."""
        return batch["condition"].to(self.parts.dtype)

    def encode(self, pictures: Tensor, sampled: bool) -> Tensor:
        """Pictures -> latents."""
        vae = self.parts.backbone.vae
        posterior = vae.encode(pictures.to(self.parts.dtype), return_dict=False)[0]
        return (posterior.sample() if sampled else posterior.mode()) * vae.config["scaling_factor"]


class NaiveTraining(ControlNetTraining):
    """The same manner with the paper's work in the step (Sec. 4): the same that our training learns from.

    Text, the face's features and the latent of I_3d are computed in the step; identity tokens stand in ControlNet's
    cross-attention; every sample is decoded whole and embedded for the ID loss. There are no ID-Injectors, which
    our training has: this one has less to do.
    """

    def trained(self) -> dict[str, nn.Module]:
        """ControlNet that takes a latent, and the ID-Encoder."""
        unet, adapter = self.parts.backbone.unet, self.recipe.model.adapter
        controlnet: Any = ControlNetModel.from_unet(unet)  # Any: its stem is typed as the one for pixels
        widths = int(unet.config["in_channels"]), int(unet.config["block_out_channels"][0])
        controlnet.controlnet_cond_embedding = nn.Conv2d(*widths, 3, padding=1)
        encoder = IDEncoder.from_settings(adapter, int(unet.config["cross_attention_dim"]))
        return {"controlnet": awaken(controlnet), "id_encoder": encoder}

    def loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        """L_total (Eq. 21), the ID loss on whole pictures at all timesteps."""
        with torch.no_grad(), self.accelerator.autocast():
            vectors = normalise(self.parts.embedder.embed_chips(batch["chip"]).float())
        batch = {**batch, "vector": vectors}
        diffusion, found = self.diffusion(batch)
        return diffusion + self.recipe.identity.weight * self.identity(found, batch)

    def identity(self, found: Prediction, batch: Mapping[str, Tensor]) -> Tensor:
        """L_id (Eq. 20)."""
        vae, embedder = self.parts.backbone.vae, self.parts.embedder
        scheduler = self.parts.backbone.scheduler
        clean = loss.clean_estimate(found.output.float(), found.z_t.float(), found.timesteps, scheduler)
        latents = clean.to(self.parts.dtype) / vae.config["scaling_factor"]
        pictures = vae.decode(latents, return_dict=False)[0].float()
        with self.accelerator.autocast():
            vectors = embedder.embed(pictures, batch["landmarks"], LAYOUT)
        return 1 - functional.cosine_similarity(vectors.float(), batch["vector"]).mean()

    @torch.no_grad()
    def text(self, batch: Mapping[str, Tensor]) -> TextCondition:
        """Encoded in the step."""
        backbone = self.parts.backbone
        return encode_token_ids(
            batch["tokens"], batch["tokens_2"], (backbone.text_encoder, backbone.text_encoder_2)
        )

    def told(self, text: TextCondition, batch: Mapping[str, Tensor]) -> Tensor:  # noqa: ARG002 - identity instead
        """F'_id of features that are computed in the step."""
        with torch.no_grad(), self.accelerator.autocast():
            patches = self.parts.local(batch["crop"])
        return self.networks["id_encoder"](batch["vector"][:, None], patches.float())

    @torch.no_grad()
    def condition(self, batch: Mapping[str, Tensor]) -> Tensor:
        """z_3d."""
        return self.encode(batch["condition"], sampled=False)


def _adamw(parameters: list[nn.Parameter], settings: LoopSettings) -> torch.optim.Optimizer:
    return torch.optim.AdamW(
        parameters,
        lr=settings.learning_rate,
        betas=settings.betas,
        weight_decay=settings.weight_decay,
        fused=True,
    )
