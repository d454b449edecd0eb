"""Several people's portraits in one batch of the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from diffpc.diffusion.backbone import TextCondition, downscale
from diffpc.diffusion.sample import Conditions, Progress, SampleSettings, denoise, initial_noise
from diffpc.pipeline import Clock, DiffPCPipeline, Identity, Portrait, PortraitSet, PortraitSettings
from diffpc.types import FaceParams


@dataclass(frozen=True)
class Sitter:
    """What differs between the portraits of a batch."""

    identity: Identity
    params: FaceParams
    prompt: str
    seed: int


@torch.no_grad()
def draw_together(
    pipeline: DiffPCPipeline, sitters: Sequence[Sitter], settings: PortraitSettings, progress: Progress
) -> list[PortraitSet]:
    """One portrait of each sitter, equal to `pipeline(...)`'s up to rounding, without a second pass over small faces.

    Args:
        pipeline: draws.
        sitters: one per portrait.
        settings: common to all; its seed and count are not used.
        progress: see `diffusion.sample.denoise`.
    """
    clock, size = Clock(), settings.size or pipeline.default_size
    with clock("render"):
        controls = [pipeline.place(sitter.params, size, skin=sitter.identity.skin) for sitter in sitters]
    with clock("encode"):
        conditions = _joined(
            [
                pipeline.conditions(sitter.identity, control, sitter.prompt, 1)
                for sitter, control in zip(sitters, controls, strict=True)
            ]
        )
        nobody = pipeline.without(conditions, sitters[0].identity) if settings.guidance != 1 else None
    with clock("denoise"):
        scale, channels = downscale(pipeline.vae), int(pipeline.unet.config["in_channels"])
        shape = (channels, size[1] // scale, size[0] // scale)
        seeds = [sitter.seed for sitter in sitters]
        noise = initial_noise(shape, seeds).to(conditions.z_3d.device)
        sampling = SampleSettings(
            settings.steps, settings.guidance, settings.strength, size, seeds=tuple(seeds)
        )
        latents = denoise(pipeline.networks, conditions, nobody, noise, sampling, progress)
    with clock("decode"):
        images = pipeline.decode(latents)
    pipeline.maybe_free_model_hooks()
    return [
        PortraitSet(
            (
                Portrait(
                    image,
                    sitter.seed,
                    sitter.prompt,
                    replace(settings, seed=sitter.seed, count=1, size=size, face_pass="off"),
                    pipeline.eyes.compare(image, sitter.identity.features, control),
                ),
            ),
            sitter.identity,
            control,
            clock.seconds,
        )
        for image, sitter, control in zip(images, sitters, controls, strict=True)
    ]


def _joined(parts: Sequence[Conditions]) -> Conditions:
    return Conditions(
        TextCondition(
            torch.cat([part.text.tokens for part in parts]), torch.cat([part.text.pooled for part in parts])
        ),
        torch.cat([part.identity for part in parts]),
        torch.cat([part.z_3d for part in parts]),
        None if parts[0].z_skin is None else torch.cat([cast(Tensor, part.z_skin) for part in parts]),
    )
