"""What each stage of a model's training learns, from which samples."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from diffpc.adapter_file import ADAPTER, OPTIONAL
from diffpc.diffusion.adapter import Adapter
from diffpc.diffusion.backbone import Backbone, token_ids
from diffpc.errors import UsageError
from diffpc.photos import Photo
from diffpc.pipeline import DiffPCPipeline
from diffpc.train.adapter import AdapterTask, Networks
from diffpc.train.align import AlignTask, Reader
from diffpc.train.autoencoder import DecoderTask, Faces, VAETask, decoder_parts
from diffpc.train.base import BaseTask
from diffpc.train.cache import Cache
from diffpc.train.critic import Critic, CriticSettings, CriticTask
from diffpc.train.loop import Task
from diffpc.train.obey import ObeyTask
from diffpc.train.objective import Judge
from diffpc.train.pairs import PairDataset
from diffpc.train.phrases import Phrases
from diffpc.train.settings import Recipe, Stage
from diffpc.train.wishes import WishDataset, values_of


@dataclass(frozen=True)
class Material:
    """What a run learns from."""

    photos: list[Photo]
    cache: Cache
    critic: Critic | None = None
    """For the stage that grades."""


def task(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> Task:
    """The recipe's stage on a pipeline's networks.

    Raises:
        UsageError: if the cache lacks what the stage learns from.
        InputError: if there is no pair.
    """
    return STAGES[recipe.stage](recipe, pipeline, material)


def trained_modules(stage: Stage, pipeline: DiffPCPipeline) -> dict[str, nn.Module]:
    """What a stage trains of a pipeline, by the names that its task gives and checkpoints have.

    A critic and a discriminator are trained too, and are no part of it.
    """
    vae, base = pipeline.vae, _backbone(pipeline).networks()
    adapter = {name: getattr(pipeline, name) for name in (*ADAPTER, *OPTIONAL)}
    adapter = {name: part for name, part in adapter.items() if part is not None}
    trained: dict[Stage, dict[str, nn.Module]] = {
        "vae": {"vae": vae},
        "decoder": {"decoder": decoder_parts(vae)},
        "base": base,
        "align": {"id_encoder": pipeline.id_encoder},
        "adapter": adapter,
        "joint": {**adapter, **base},
        "critic": {},
        "obey": {**adapter, **base},
    }
    return trained[stage]


def _vae(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> VAETask:
    return VAETask(pipeline.vae, material.cache.column("picture"), recipe.window)


def _decoder(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> DecoderTask:
    cache, weight = material.cache, recipe.identity.weight
    faces = Faces(cache.column("landmarks"), cache.layout, pipeline.eyes.tools.embedder, weight)
    pictures, latents = cache.column("picture"), cache.column("latent")
    return DecoderTask(
        pipeline.vae, pictures, latents, recipe.window, faces if weight else None, recipe.realism
    )


def _base(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> BaseTask:
    return BaseTask(_backbone(pipeline), _pairs(recipe, pipeline, material))


def _align(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> AlignTask:
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    first, second = (token_ids([""], one)[0] for one in tokenizers)
    local = None if recipe.cache.patches else pipeline.eyes.tools.local
    reader = Reader(pipeline.id_encoder, _backbone(pipeline), (first, second), local)
    return AlignTask(reader, _pairs(recipe, pipeline, material))


def _critic(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> CriticTask:
    cache, phrases = material.cache, Phrases()
    captions = {photo.key: photo.captions for photo in material.photos}
    shown = torch.stack([phrases.shown(captions[key]) for key in cache.keys])
    latents, values = cache.column("latent"), values_of(cache)
    torch.manual_seed(recipe.loop.seed)
    _, channels, side, _ = latents.shape
    critic = Critic(CriticSettings(channels, side, shown.shape[1], values.shape[1]))
    critic.fit(shown, values)
    return CriticTask(critic, latents, (shown, values), pipeline.scheduler)


def _obey(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> ObeyTask:
    if material.critic is None:
        raise UsageError("--critic is missing; train one with: diffpc train tiny_critic")
    if not pipeline.id_ctrl.config["skin"] or pipeline.id_attention is not None:
        raise UsageError(
            "portraits are graded of models with ID-Ctrl that is told skin; choose another stage"
        )
    seen = material.critic.settings
    sizes = (
        *material.cache.column("latent").shape[1:3],
        len(Phrases().names),
        values_of(material.cache).shape[1],
    )
    if (seen.channels, seen.side, seen.phrases, seen.values) != sizes:
        raise UsageError(
            f"the critic was trained for {seen}, not {sizes}; train one of this base and these photos"
        )
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    model, wishes = pipeline.eyes.model, recipe.wishes
    torch.manual_seed(recipe.loop.seed)
    return ObeyTask(
        _backbone(pipeline),
        _networks(recipe, pipeline, material),
        material.critic,
        (token_ids([""], tokenizers[0])[0], token_ids([""], tokenizers[1])[0]),
        partial(WishDataset, material.photos, material.cache, tokenizers, model, wishes),
        (recipe.obey, recipe.identity),
    )


def _adapter(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> AdapterTask:
    networks = _networks(recipe, pipeline, material)
    model = pipeline.eyes.model if pipeline.id_ctrl.config["skin"] else None
    samples = partial(_pairs(recipe, pipeline, material), model=model)
    joint = recipe.stage == "joint"
    return AdapterTask(_backbone(pipeline), networks, samples, recipe.identity, joint, recipe.face_weight)


def _networks(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> Networks:
    tools = pipeline.eyes.tools
    return Networks(
        id_encoder=pipeline.id_encoder,
        adapter=Adapter(pipeline.id_ctrl, pipeline.id_injectors, pipeline.id_attention),
        judge=Judge(pipeline.vae, tools.embedder, material.cache.layout),
        local=None if recipe.cache.patches else tools.local,
    )


def _pairs(recipe: Recipe, pipeline: DiffPCPipeline, material: Material) -> Callable[..., PairDataset]:
    """seed -> samples; with a face model they hold skin."""
    tokenizers = (pipeline.tokenizer, pipeline.tokenizer_2)
    return partial(PairDataset, material.photos, material.cache, tokenizers, recipe.pairs)


def _backbone(pipeline: DiffPCPipeline) -> Backbone:
    return Backbone(
        pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.unet, pipeline.scheduler
    )


STAGES: dict[Stage, Callable[[Recipe, DiffPCPipeline, Material], Task]] = {
    "vae": _vae,
    "decoder": _decoder,
    "base": _base,
    "align": _align,
    "adapter": _adapter,
    "joint": _adapter,
    "critic": _critic,
    "obey": _obey,
}
"""Stage -> its task."""
