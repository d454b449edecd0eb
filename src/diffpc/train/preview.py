"""A picture of progress: reference, I_3d, target and portrait of a few fixed pairs, one pair per row."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import default_collate

from diffpc.diffusion.backbone import encode_token_ids
from diffpc.diffusion.sample import Conditions, SampleSettings, denoise, initial_noise
from diffpc.images import resize
from diffpc.pipeline import DiffPCPipeline
from diffpc.tensors import to_image
from diffpc.train.adapter import patch_features
from diffpc.train.loop import Trainer
from diffpc.train.positions import Samples
from diffpc.types import Image

FIRST = 1 << 40
"""Position of the first pair shown, beyond what any run trains on."""


@torch.no_grad()
def preview(pipeline: DiffPCPipeline, samples: Samples, count: int, steps: int) -> Image:
    """Draw `count` pairs as they are in training: with the target's own caption, without guidance.

    Args:
        pipeline: with the networks in training.
        samples: see `diffpc.train.adapter.AdapterTask`.
        count: rows.
        steps: denoising steps.
    """
    batch = default_collate([samples[FIRST + number] for number in range(count)])
    batch = {name: value.to(pipeline.device) for name, value in batch.items()}
    latents = _drawn(pipeline, batch, steps)
    columns = [pipeline.decode(part.float()) for part in (batch["z_3d"], batch["z_0"], latents)]
    side = columns[0][0].shape[0]
    columns.insert(0, _references(batch, count, side))
    return np.concatenate([np.concatenate(row, axis=1) for row in zip(*columns, strict=True)])


@contextmanager
def averaged_weights(trainer: Trainer) -> Generator[None]:
    """Within the context the networks have their averaged weights; not with weights in shards."""
    kept = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    _put(trainer, trainer.average)
    try:
        yield
    finally:
        _put(trainer, kept)


@torch.no_grad()
def _put(trainer: Trainer, values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        trainer.parameters[name].copy_(value)


def _drawn(pipeline: DiffPCPipeline, batch: dict[str, Tensor], steps: int) -> Tensor:
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
    patches = patch_features(batch, pipeline.eyes.tools.local)
    conditions = Conditions(
        text=encode_token_ids(batch["tokens"], batch["tokens_2"], encoders),
        identity=pipeline.id_encoder(batch["vector"].float(), patches.float()),
        z_3d=batch["z_3d"].to(pipeline.unet.dtype),
    )
    shape = tuple(batch["z_3d"].shape[1:])
    noise = initial_noise((shape[0], shape[1], shape[2]), list(range(len(patches)))).to(pipeline.device)
    settings = SampleSettings(steps=steps, size=pipeline.default_size)
    return denoise(pipeline.networks, conditions, None, noise, settings)


def _references(batch: dict[str, Tensor], count: int, side: int) -> list[Image]:
    """The crops that the local features see; grey where only features were kept."""
    if "crop" not in batch:
        return [np.full((side, side, 3), 127, np.uint8)] * count
    return [resize(to_image(one), side, side) for one in batch["crop"]]
