"""Recipe, base and photos -> the pipeline whose adapter is trained, and the task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLPipeline
from torch import nn
from transformers import CLIPTokenizer

from diffpc.diffusion.adapter import build_adapter
from diffpc.diffusion.backbone import build
from diffpc.errors import UsageError
from diffpc.files import asset
from diffpc.loading import BUNDLED, load_adapter, load_base, on_base, place_of
from diffpc.photos import Photo
from diffpc.pipeline import DiffPCPipeline
from diffpc.settings import BackboneSettings
from diffpc.train.cache import Cache, CacheTools, Crew, build_cache
from diffpc.train.settings import Recipe
from diffpc.train.stages import Material
from diffpc.types import Say
from diffpc.weights import fingerprint

FITTED = 256
"""Photos whose patch features are looked at for their mean and deviation, where they are not cached."""


NEW = "new"
"""The base that is to be trained from nothing."""


def build_pipeline(recipe: Recipe, base: str, start_from: str | None) -> DiffPCPipeline:
    """A base with an untrained adapter, or with one that is to be trained further.

    Args:
        recipe: of the adapter's sizes and forms.
        base: an SDXL checkpoint or a model folder, see `diffpc.loading.load_base`; or "new" for random weights
            of the recipe's sizes.
        start_from: an adapter that `save_adapter` wrote, or a whole model; see `diffpc.loading.place_of`.

    Raises:
        UsageError: if adapter and base do not fit.
        InputError: for missing or broken files.
    """
    torch.manual_seed(recipe.loop.seed)
    found = _new_base(recipe.model.backbone) if base == NEW else load_base(base, torch.float32)
    if start_from is not None:
        return load_adapter(place_of(start_from), found)
    torch.manual_seed(recipe.loop.seed)
    defaults = {"steps": recipe.model.steps, "guidance": recipe.model.guidance}
    adapter = build_adapter(recipe.model.adapter, found.unet)
    return on_base(found, adapter, asdict(recipe.model.faces), defaults)


def gather(
    recipe: Recipe,
    pipeline: DiffPCPipeline,
    photos: list[Photo],
    folder: Path,
    crew: Crew,
    report: Say,
) -> Material:
    """Build the cache below `folder`, all processes together, or open it.

    Raises:
        UsageError: if the recipe's settings do not fit the model.
        InputError: if no photo can be used, or the folder cannot be written.
    """
    if recipe.cache.mirrored:
        photos = [one for photo in photos for one in (photo, photo.mirror())]
    settings = replace(recipe.cache, skin=recipe.cache.skin or bool(pipeline.id_ctrl.config["skin"]))
    tools = CacheTools(eyes=pipeline.eyes, vae=pipeline.vae, weights=_hashes(pipeline))
    return Material(photos, build_cache(photos, tools, settings, folder, report, crew))


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


def _new_base(settings: BackboneSettings) -> DiffusionPipeline:
    """Networks with random weights, and the bundled model's tokenizer: to make one is no part of training.

    Raises:
        UsageError: if the text encoders have another vocabulary.
    """
    tokenizer = CLIPTokenizer.from_pretrained(asset(BUNDLED) / "tokenizer")
    for encoder in (settings.text_encoder, settings.text_encoder_2):
        if encoder.vocabulary != len(tokenizer):
            raise UsageError(
                f"a new base has the bundled tokenizer's {len(tokenizer)} tokens, not {encoder.vocabulary}; "
                "pass --base with a checkpoint of that size"
            )
    parts = build(settings)
    return StableDiffusionXLPipeline(
        vae=parts.vae,
        text_encoder=parts.text_encoder,
        text_encoder_2=parts.text_encoder_2,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        unet=parts.unet,
        scheduler=cast(Any, parts.scheduler),  # declared as one other class
    )
