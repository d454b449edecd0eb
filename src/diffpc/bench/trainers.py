"""Who is timed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import torch

from diffpc.bench.device import flops
from diffpc.bench.parts import LAYOUT, Parts, awaken
from diffpc.bench.plain_controlnet import ControlNetTraining, NaiveTraining
from diffpc.bench.samples import Cached
from diffpc.diffusion.adapter import Adapter, build_adapter
from diffpc.train.adapter import AdapterTask, Judge, Networks
from diffpc.train.engine import Engine
from diffpc.train.loop import Trainer
from diffpc.train.settings import Recipe


class Contender(Protocol):
    """A way to train."""

    def step(self) -> float:
        """One optimiser step; returns the loss."""
        ...


class DiffPCTraining:
    """`diffpc train`: its task in its trainer, without checkpoints and pictures of progress."""

    def __init__(self, parts: Parts, recipe: Recipe) -> None:
        with torch.device(parts.device):
            trained = build_adapter(recipe.model.adapter, parts.backbone.unet)
        for module in trained.values():
            awaken(module).float()
        networks = Networks(
            id_encoder=trained["id_encoder"],  # pyright: ignore[reportArgumentType] - by name, as all here
            adapter=Adapter(trained["id_ctrl"], trained["id_injectors"]),  # pyright: ignore[reportArgumentType]
            judge=Judge(parts.backbone.vae, parts.embedder, LAYOUT),
            local=None if recipe.cache.patches else parts.local,
        )
        samples = partial(Cached, recipe, parts)
        task = AdapterTask(parts.backbone, networks, samples, recipe.identity)
        self.trainer = Trainer(task, recipe.loop, Path("unwritten"), Engine(recipe.engine))

    def step(self) -> float:
        """One optimiser step; returns the loss."""
        return self.trainer.step()["total"]


def without_identity_loss(parts: Parts, recipe: Recipe) -> DiffPCTraining:
    """The same with L_diff alone."""
    return DiffPCTraining(parts, _weighed(recipe, weight=0.0))


CONTENDERS: dict[str, Callable[[Parts, Recipe], Contender]] = {
    "ours": DiffPCTraining,
    "ours_without_id_loss": without_identity_loss,
    "controlnet": ControlNetTraining,
    "naive": NaiveTraining,
}
"""name -> its maker."""


def flop_per_sample(name: str, parts: Parts, recipe: Recipe) -> float:
    """FLOP of one training sample, forward and backward as they run.

    The ID loss of "ours" runs where the image is clean enough: what it adds is counted over a batch that has it
    throughout, and weighed by the share of such timesteps.
    """
    recipe = replace(recipe, engine=replace(recipe.engine, compile=False))
    if name != "ours":
        return flops(CONTENDERS[name](parts, recipe).step) / recipe.loop.batch
    always = replace(recipe, identity=replace(recipe.identity, until=recipe.pairs.timesteps))
    least, most = (flops(DiffPCTraining(parts, one).step) for one in (_weighed(recipe, 0.0), always))
    share = min(1.0, (recipe.identity.until + 1) / recipe.pairs.timesteps)
    return (least + share * (most - least)) / recipe.loop.batch


def _weighed(recipe: Recipe, weight: float) -> Recipe:
    return replace(recipe, identity=replace(recipe.identity, weight=weight))
