"""Recipe, base and photos -> the pipeline whose adapter is trained, and the task."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from torch import nn

from diffpc.diffusion.adapter import Adapter, build_adapter
from diffpc.diffusion.backbone import Backbone
from diffpc.loading import load_adapter, load_base, on_base
from diffpc.photos import Photo
from diffpc.pipeline import DiffPCPipeline
from diffpc.train.adapter import AdapterTask, Networks
from diffpc.train.cache import Cache, CacheTools, build_cache, fingerprint
from diffpc.train.pairs import PairDataset
from diffpc.train.settings import Recipe

FITTED = 256
"""Photos whose patch features are looked at for their mean and deviation, where they are not cached."""


@dataclass(frozen=True)
class Material:
    """What a run learns from."""

    photos: list[Photo]
    cache: Cache


def build_pipeline(recipe: Recipe, base: str, start_from: Path | None) -> DiffPCPipeline:
    """A base with an untrained adapter, or with one that is to be trained further.

    Args:
        recipe: of the adapter's sizes and forms.
        base: an SDXL checkpoint or a model folder, see `diffpc.loading.load_base`.
        start_from: an adapter that `save_adapter` wrote, or a whole model.

    Raises:
        UsageError: if adapter and base do not fit.
        InputError: for missing or broken files.
    """
    found = load_base(base, torch.float32)
    if start_from is not None:
        return load_adapter(start_from, found)
    torch.manual_seed(recipe.loop.seed)
    adapter = build_adapter(recipe.model.adapter, found.unet)
    return on_base(found, adapter, asdict(recipe.model.faces), {})


def gather(
    recipe: Recipe, pipeline: DiffPCPipeline, photos: list[Photo], folder: Path, report: Callable[[str], None]
) -> Material:
    """Build the cache in `folder`, by one process of all, or open it."""
    tools = CacheTools(eyes=pipeline.eyes, vae=pipeline.vae, weights=_hashes(pipeline))
    with PartialState().main_process_first():
        return Material(photos, build_cache(photos, tools, recipe.cache, folder, report))


def adapter_task(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> AdapterTask:
    """Pairs of photos as samples; the ID-Encoder's scale is fitted to them."""
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    samples = partial(PairDataset, material.photos, material.cache, tokenizers, recipe.pairs)
    tools = pipeline.eyes.tools
    networks = Networks(
        id_encoder=pipeline.id_encoder,
        adapter=Adapter(pipeline.id_ctrl, pipeline.id_injectors, pipeline.id_attention),
        decoder=pipeline.vae,
        embedder=tools.embedder,
        layout=material.cache.layout,
        local=None if recipe.cache.patches else tools.local,
    )
    backbone = Backbone(
        pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.unet, pipeline.scheduler
    )
    return AdapterTask(backbone, networks, samples, recipe.identity)


@torch.no_grad()
def fit_scale(pipeline: DiffPCPipeline, cache: Cache) -> None:
    """Standardise the ID-Encoder's inputs by the photos' statistics."""
    if "patches" in cache.names:
        patches = cache.column("patches").float()
    else:
        rows = range(0, len(cache), max(1, len(cache) // FITTED))
        crops = torch.stack([cache[row].crop for row in rows]).float() / 127.5 - 1
        local = pipeline.eyes.tools.local
        patches = torch.cat([local(part.to(pipeline.device)).float().cpu() for part in crops.split(8)])
    pipeline.id_encoder.fit_scale(cache.column("vector"), patches)


def _hashes(pipeline: DiffPCPipeline) -> Mapping[str, str]:
    """Of the networks that look at faces: their weights may come from anywhere."""
    tools = pipeline.eyes.tools
    seen = {"embedder": tools.embedder, "local": tools.local, "predictor": pipeline.eyes.predictor}
    return {name: fingerprint(module) for name, module in seen.items() if isinstance(module, nn.Module)}
