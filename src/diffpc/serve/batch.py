"""Several people's portraits in one batch of the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor

from diffpc.diffusion.backbone import TextCondition, downscale
from diffpc.diffusion.sample import Conditions, Progress, SampleSettings, denoise, initial_noise
from diffpc.pipeline import Clock, Control, DiffPCPipeline, Identity, Portrait, PortraitSet, PortraitSettings
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
        conditions = _joined([_conditions(pipeline, *pair) for pair in zip(sitters, controls, strict=True)])
        nobody = _without(pipeline, conditions, sitters[0].identity) if settings.guidance != 1 else None
    with clock("denoise"):
        scale, channels = downscale(pipeline.vae), int(pipeline.unet.config["in_channels"])
        shape = (channels, size[1] // scale, size[0] // scale)
        noise = initial_noise(shape, [sitter.seed for sitter in sitters]).to(conditions.z_3d.device)
        sampling = SampleSettings(settings.steps, settings.guidance, settings.strength, size)
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


def _conditions(pipeline: DiffPCPipeline, sitter: Sitter, control: Control) -> Conditions:
    return Conditions(
        pipeline.encode_prompt(sitter.prompt, 1),
        pipeline.identity_tokens(sitter.identity.features, 1),
        *pipeline.encode_control(control, 1),
    )


def _joined(parts: Sequence[Conditions]) -> Conditions:
    return Conditions(
        TextCondition(
            torch.cat([part.text.tokens for part in parts]), torch.cat([part.text.pooled for part in parts])
        ),
        torch.cat([part.identity for part in parts]),
        torch.cat([part.z_3d for part in parts]),
        None if parts[0].z_skin is None else torch.cat([cast(Tensor, part.z_skin) for part in parts]),
    )


def _without(pipeline: DiffPCPipeline, conditions: Conditions, identity: Identity) -> Conditions:
    """What guidance pushes away from: no prompt, nobody in particular, the same 3D faces."""
    features = identity.features
    nobody = replace(
        features,
        global_vector=torch.zeros_like(features.global_vector),
        patches=torch.zeros_like(features.patches),
    )
    count = len(conditions.identity)
    return Conditions(
        pipeline.encode_prompt("", count), pipeline.identity_tokens(nobody, count), conditions.z_3d
    )
