"""What a run will be: settings, parameter counts and an estimate of its memory, before anything is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from diffpc.diffusion.adapter import Adapter, build_adapter
from diffpc.diffusion.backbone import Backbone, build, build_scheduler, downscale
from diffpc.loading import DTYPES
from diffpc.train.adapter import AdapterTask, Networks
from diffpc.train.align import AlignTask, Reader
from diffpc.train.autoencoder import DecoderTask, VAETask
from diffpc.train.base import BaseTask
from diffpc.train.critic import Critic, CriticSettings, CriticTask
from diffpc.train.engine import checkpoint_activations
from diffpc.train.loop import Task
from diffpc.train.obey import ObeyTask
from diffpc.train.phrases import Phrases
from diffpc.train.positions import Drawn
from diffpc.train.settings import Recipe, Stage


@dataclass(frozen=True)
class Plan:
    """Sizes of a run."""

    recipe: dict[str, Any]
    """Resolved settings."""
    trained: dict[str, int]
    """Parameters of each trained network."""
    frozen: dict[str, int]
    """Of each frozen one; what looks at faces is not counted."""
    state_bytes: int
    """Per process without shards: trained weights, gradients, two moments and the average, all in float32."""
    frozen_bytes: int
    """Of the frozen networks, in the run's precision."""
    activation_bytes: int
    """That one micro-batch keeps for the backward pass, without the ID loss, in the run's precision."""

    def lines(self) -> list[str]:
        """For people."""
        counts = [
            f"{kind} {name}: {count / 1e6:,.2f} M parameters"
            for kind, part in (("trained", self.trained), ("frozen", self.frozen))
            for name, count in part.items()
        ]
        sizes = {
            "trained weights with their optimiser": self.state_bytes,
            "frozen weights": self.frozen_bytes,
            "activations": self.activation_bytes,
        }
        parts = ", ".join(f"{name} {size / 2**30:.2f} GiB" for name, size in sizes.items())
        return [
            *counts,
            f"memory per process, estimated: {parts}; {sum(sizes.values()) / 2**30:.2f} GiB in all",
        ]


def plan(recipe: Recipe, world: int = 1) -> Plan:
    """Build the networks without memory, on torch's meta device, and count.

    Args:
        recipe: of the run.
        world: number of processes.
    """
    with torch.device("meta"):
        base = build(recipe.model.backbone)
        parts = build_adapter(recipe.model.adapter, base.unet)
    # Steps are counted with real numbers.
    base = replace(base, scheduler=build_scheduler(recipe.model.backbone))
    task = _task(recipe, base, parts)
    trained, frozen = ({name: _count(one) for name, one in part.items()} for part in _split(task, base))
    copies = 4 + (recipe.loop.ema_images > 0)
    width = DTYPES[recipe.engine.precision].itemsize
    batch = max(1, recipe.loop.batch // (world * recipe.engine.accumulation))
    return Plan(
        recipe=asdict(recipe),
        trained=trained,
        frozen=frozen,
        state_bytes=copies * torch.float32.itemsize * sum(trained.values()),
        frozen_bytes=width * sum(frozen.values()),
        activation_bytes=_kept_bytes(recipe, task, batch) * width // torch.float32.itemsize,
    )


def _task(recipe: Recipe, base: Backbone, parts: dict[str, Any]) -> Task:
    """The stage's task on networks that hold nothing; nobody asks it for samples."""
    side = recipe.cache.size // downscale(base.vae)
    pictures = torch.zeros(1, 3, recipe.cache.size, recipe.cache.size, dtype=torch.uint8)
    latents = torch.zeros(1, recipe.model.backbone.vae.latent_channels, side, side)
    adapter = Adapter(parts["id_ctrl"], parts["id_injectors"], parts.get("id_attention"))
    networks = Networks(parts["id_encoder"], adapter)
    empty = torch.zeros(recipe.model.backbone.text_encoder.length, dtype=torch.int64)
    labels = (torch.zeros(1, len(Phrases().names)), torch.zeros(1, VALUES))
    with torch.device("meta"):
        critic = Critic(CriticSettings(latents.shape[1], side, labels[0].shape[1], VALUES))
    reader = Reader(parts["id_encoder"], base, (empty, empty))
    tasks: dict[Stage, Callable[[], Task]] = {
        "vae": lambda: VAETask(base.vae, pictures, recipe.window),
        "decoder": lambda: DecoderTask(base.vae, pictures, latents, recipe.window),
        "base": lambda: BaseTask(base, _no_samples),
        "align": lambda: AlignTask(reader, _no_samples),
        "adapter": lambda: AdapterTask(base, networks, _no_samples),
        "joint": lambda: AdapterTask(base, networks, _no_samples, joint=True),
        "critic": lambda: CriticTask(critic, latents, labels, base.scheduler),
        "obey": lambda: ObeyTask(
            base, networks, critic, (empty, empty), _no_samples, (recipe.obey, recipe.identity)
        ),
    }
    with torch.device("meta"):  # a stage may add networks of its own
        return tasks[recipe.stage]()


def _no_samples(seed: int) -> Drawn:
    """Shapes are all that a plan looks at."""
    return Drawn(seed, lambda _: {}, str)


def _split(task: Task, base: Backbone) -> tuple[dict[str, nn.Module], dict[str, nn.Module]]:
    """What is trained, and what is there beside it."""
    trained = dict(task.modules())
    rest = dict(task.frozen())
    if "vae" not in trained and "decoder" not in trained:
        rest = {**{name: one for name, one in rest.items() if one is not base.vae}, "vae": base.vae}
    return trained, rest


def _kept_bytes(recipe: Recipe, task: Task, batch: int) -> int:
    """Bytes, in float32, that one forward pass of a batch keeps for its gradient."""
    networks = [*task.modules().values(), *task.frozen().values()]
    for module in task.frozen().values():
        module.requires_grad_(False)
    if recipe.engine.checkpointing:
        checkpoint_activations(networks)
    known = {_storage(value) for module in networks for value in module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        terms = task.losses(_batch(recipe, batch))  # keeps the graph, and with it the tensors, alive
    del terms
    return sum(size for storage, size in kept.items() if storage not in known)


def _batch(recipe: Recipe, count: int) -> dict[str, Tensor]:
    """Collated samples with the shapes of any stage's."""
    model, pixels = recipe.model, 2 ** (len(recipe.model.backbone.vae.block_out_channels) - 1)
    side = recipe.cache.size // pixels
    if recipe.stage in ("vae", "decoder"):
        side = recipe.window or side
    latent = (count, model.backbone.vae.latent_channels, side, side)
    said = ("phrases", "weights", "looks", "photo_looks")
    flags = ("kept_global", "kept_local", "kept_skin", "kept_adapter")
    with torch.device("meta"):
        tokens = torch.zeros(count, model.backbone.text_encoder.length, dtype=torch.int64)
        return {
            **{name: torch.zeros(latent) for name in ("z_0", "z_3d", "noise", "latents")},
            **{name: torch.ones(count, dtype=torch.bool) for name in flags},
            **{
                name: torch.zeros(count, 3, pixels * side, pixels * side)
                for name in ("picture", "i_3d", "i_skin")
            },
            **{name: torch.zeros(count, len(Phrases().names)) for name in said},
            **{name: torch.zeros(count, VALUES) for name in ("values", "importance")},
            "critic_noise": torch.zeros(latent),
            "critic_timestep": torch.zeros(count, dtype=torch.int64),
            "turn": torch.zeros(count),
            "face": torch.zeros(count, side, side, dtype=torch.uint8),
            "timestep": torch.zeros(count, dtype=torch.int64),
            "tokens": tokens,
            "tokens_2": tokens,
            "vector": torch.zeros(count, 1, model.adapter.global_width),
            "patches": torch.zeros(count, PATCHES, model.adapter.local_width),
        }


VALUES = 53
"""What a critic measures of a light face: 50 of its expression, 3 of its rotation."""

PATCHES = 257
"""Local features of a photo: ViT-H/14's at 224 px, more than any other's."""


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _storage(tensor: Tensor) -> int:
    """What tells storages apart: on the meta device all addresses are 0."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage] # no public identity
