"""Pictures of progress: a few fixed samples, one per row, as the networks draw them now."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from diffpc.diffusion.backbone import encode_token_ids
from diffpc.diffusion.sample import Conditions, SampleSettings, denoise, initial_noise
from diffpc.images import resize
from diffpc.pipeline import DiffPCPipeline
from diffpc.tensors import to_image
from diffpc.train.features import latents_of, patch_features, skin_latents
from diffpc.train.loop import Trainer
from diffpc.train.pairs import PairDataset
from diffpc.train.positions import Samples
from diffpc.train.settings import Stage
from diffpc.train.wishes import WishDataset
from diffpc.types import Image

FIRST = 1 << 40
"""Position of the first sample shown, beyond what any run trains on."""


@torch.no_grad()
def draw_pairs(pipeline: DiffPCPipeline, samples: Samples, count: int) -> Image:
    """Reference, I_3d, I_skin (if told), target and portrait of pairs or wishes: with their prompt, no guidance.

    Args:
        pipeline: with the networks in training.
        samples: see `diffpc.train.adapter.AdapterTask` and `diffpc.train.wishes.WishDataset`.
        count: rows.
    """
    batch = _batch(pipeline, samples, count)
    latents = _drawn(pipeline, batch, strength=1.0)
    columns = [pipeline.decode(part.float()) for part in (batch["z_3d"], batch["z_0"], latents)]
    if "i_skin" in batch:
        columns.insert(1, [to_image(one) for one in batch["i_skin"]])
    columns.insert(0, _references(samples, batch, columns[0][0].shape[0]))
    return _grid(columns)


@torch.no_grad()
def draw_captions(pipeline: DiffPCPipeline, samples: Samples, count: int) -> Image:
    """A photo and what the base draws of its caption; see `draw_pairs`."""
    batch = _batch(pipeline, samples, count)
    latents = _drawn(pipeline, batch, strength=0.0)
    return _grid([pipeline.decode(part.float()) for part in (batch["z_0"], latents)])


@torch.no_grad()
def draw_again(pipeline: DiffPCPipeline, samples: Samples, count: int) -> Image:
    """A photo's window and what the autoencoder makes of it; see `draw_pairs`."""
    batch = _batch(pipeline, samples, count)
    if "latents" not in batch:
        batch["latents"] = latents_of(batch["picture"], pipeline.vae)
    return _grid([[to_image(one) for one in batch["picture"]], pipeline.decode(batch["latents"])])


PREVIEWS: dict[Stage, Callable[[DiffPCPipeline, Samples, int], Image]] = {
    "vae": draw_again,
    "decoder": draw_again,
    "base": draw_captions,
    "adapter": draw_pairs,
    "joint": draw_pairs,
    "obey": draw_pairs,
}
"""Stage -> its picture; the start of the ID-Encoder has nothing to show."""


@contextmanager
def averaged_weights(trainer: Trainer) -> Generator[None]:
    """Within the context the networks have their averaged weights; not with weights in shards."""
    kept = {name: value.detach().clone() for name, value in trainer.parameters.items()}
    _put(trainer, trainer.average)
    try:
        yield
    finally:
        _put(trainer, kept)


@contextmanager
def widened(pipeline: DiffPCPipeline) -> Generator[None]:
    """Within the context all weights are float32: of a training in bfloat16, the frozen ones are not."""
    parts = [part for part in pipeline.components.values() if isinstance(part, nn.Module)]
    tensors = [one for part in parts for one in (*part.parameters(), *part.buffers())]
    narrow = [one for one in tensors if one.dtype == torch.bfloat16]
    kept = [one.data for one in narrow]
    for one in narrow:
        one.data = one.data.float()
    try:
        yield
    finally:
        for one, data in zip(narrow, kept, strict=True):
            one.data = data


@torch.no_grad()
def _put(trainer: Trainer, values: dict[str, Tensor]) -> None:
    for name, value in values.items():
        trainer.parameters[name].copy_(value)


def _batch(pipeline: DiffPCPipeline, samples: Samples, count: int) -> dict[str, Tensor]:
    batch = default_collate([samples[FIRST + number] for number in range(count)])
    batch = {name: value.to(pipeline.device) for name, value in batch.items()}
    if "i_3d" in batch:  # a wish
        batch["z_3d"], batch["kept_skin"] = latents_of(batch["i_3d"], pipeline.vae), torch.ones(count)
    return batch


def _drawn(pipeline: DiffPCPipeline, batch: dict[str, Tensor], strength: float) -> Tensor:
    encoders = (pipeline.text_encoder, pipeline.text_encoder_2)
    patches = patch_features(batch, pipeline.eyes.tools.local)
    z_skin = skin_latents(batch, pipeline.vae)
    conditions = Conditions(
        text=encode_token_ids(batch["tokens"], batch["tokens_2"], encoders),
        identity=pipeline.id_encoder(batch["vector"].float(), patches),
        z_3d=batch["z_3d"].to(pipeline.unet.dtype),
        z_skin=None if z_skin is None else z_skin.to(pipeline.unet.dtype),
    )
    shape = tuple(batch["z_3d"].shape[1:])
    seeds = tuple(range(len(patches)))
    noise = initial_noise((shape[0], shape[1], shape[2]), list(seeds)).to(pipeline.device)
    steps = int(pipeline.config["defaults"].get("steps", SampleSettings.steps))
    settings = SampleSettings(steps, strength=strength, size=pipeline.default_size, seeds=seeds)
    return denoise(pipeline.networks, conditions, None, noise, settings)


def _grid(columns: list[list[Image]]) -> Image:
    return np.concatenate([np.concatenate(row, axis=1) for row in zip(*columns, strict=True)])


def _references(samples: Samples, batch: dict[str, Tensor], side: int) -> list[Image]:
    """The crops that the local features see; grey where only features were kept."""
    if isinstance(samples, PairDataset | WishDataset):
        crops = [samples.cache[row].crop.permute(1, 2, 0).numpy() for row in batch["reference"].tolist()]
    else:
        crops = [np.full((side, side, 3), 127, np.uint8)] * len(batch["z_0"])
    return [resize(np.ascontiguousarray(crop), side, side) for crop in crops]
