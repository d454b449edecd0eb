"""Several people's portraits in one batch of the networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from diffpc.diffusion.sample import Progress, denoise, joined
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
    """One portrait of each sitter, equal to `pipeline(...)`'s up to rounding.

    A second pass over a small face is of its own: the squares around the faces differ.

    Args:
        pipeline: draws.
        sitters: one per portrait.
        settings: common to all; its seed and count are not used.
        progress: see `diffusion.sample.denoise`.
    """
    clock, size = Clock(), settings.size or pipeline.default_size
    with clock("render"):
        free = settings.face_pass == "on"
        controls = [pipeline.place(sitter.params, size, free, sitter.identity.skin) for sitter in sitters]
    with clock("encode"):
        own = [
            pipeline.conditions(sitter.identity, control, sitter.prompt, 1)
            for sitter, control in zip(sitters, controls, strict=True)
        ]
        conditions = joined(own)
        guided, anybody = settings.guidance != 1, sitters[0].identity
        nobody = pipeline.without(conditions, anybody, *controls) if guided else None
    with clock("denoise"):
        sampling = replace(settings.sampling(size), seeds=tuple(sitter.seed for sitter in sitters))
        latents = denoise(pipeline.networks, conditions, nobody, pipeline.noise(sampling), sampling, progress)
    with clock("decode"):
        images = pipeline.decode(latents)
    finished = [replace(settings, seed=sitter.seed, count=1, size=size) for sitter in sitters]
    with clock("face"):
        regions = [pipeline.face_region(*pair) for pair in zip(controls, finished, strict=True)]
        for at, (sitter, control, region) in enumerate(zip(sitters, controls, regions, strict=True)):
            if region:
                without = pipeline.without(own[at], sitter.identity, control) if guided else None
                branches, skin = (own[at], without), sitter.identity.skin
                images[at : at + 1] = pipeline.redrawn(
                    [images[at]], region, skin, control, branches, finished[at]
                )
    pipeline.maybe_free_model_hooks()
    return [
        PortraitSet(
            (
                Portrait(
                    image,
                    sitter.seed,
                    sitter.prompt,
                    done,
                    pipeline.eyes.compare(image, sitter.identity.features, control),
                ),
            ),
            sitter.identity,
            control,
            clock.seconds,
            region,
        )
        for image, sitter, control, done, region in zip(
            images, sitters, controls, finished, regions, strict=True
        )
    ]
