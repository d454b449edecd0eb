"""What a run will be: settings, parameter counts and an estimate of its memory, before anything is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from diffpc.diffusion.adapter import Adapter, Step, build_adapter
from diffpc.diffusion.backbone import Backbone, TextCondition, build, downscale
from diffpc.loading import DTYPES
from diffpc.train.engine import checkpoint_activations
from diffpc.train.settings import Recipe


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
    frozen = {**base.networks(), "vae": base.vae}
    copies = 4 + (recipe.loop.ema_images > 0)
    width = DTYPES[recipe.engine.precision].itemsize
    batch = max(1, recipe.loop.batch // (world * recipe.engine.accumulation))
    return Plan(
        recipe=asdict(recipe),
        trained={name: _count(module) for name, module in parts.items()},
        frozen={name: _count(module) for name, module in frozen.items()},
        state_bytes=copies * torch.float32.itemsize * sum(map(_count, parts.values())),
        frozen_bytes=width * sum(map(_count, frozen.values())),
        activation_bytes=kept_bytes(recipe, base, parts, batch) * width // torch.float32.itemsize,
    )


def kept_bytes(recipe: Recipe, base: Backbone, parts: dict[str, Any], batch: int) -> int:
    """Bytes, in float32, that one forward pass of a batch keeps for its gradient."""
    networks: list[nn.Module] = [base.unet, *parts.values()]
    base.unet.requires_grad_(False)
    if recipe.engine.checkpointing:
        checkpoint_activations(networks)
    known = {_storage(value) for module in networks for value in module.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept[_storage(tensor)] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = _forward(recipe, base, parts, batch)  # keeps the graph, and with it the tensors, alive
    del output
    return sum(size for storage, size in kept.items() if storage not in known)


def _forward(recipe: Recipe, base: Backbone, parts: dict[str, Any], batch: int) -> Tensor:
    settings, unet = recipe.model, base.unet
    side = recipe.cache.size // downscale(base.vae)
    with torch.device("meta"):
        z_t = torch.zeros(batch, settings.backbone.vae.latent_channels, side, side)
        text = torch.zeros(batch, settings.backbone.text_encoder.length, settings.backbone.text_width)
        pooled = torch.zeros(batch, settings.backbone.text_encoder_2.projection)
        told = TextCondition(text, pooled)
        vectors = torch.zeros(batch, 1, settings.adapter.global_width)
        patches = torch.zeros(batch, PATCHES, settings.adapter.local_width)
        timesteps = torch.zeros(batch, dtype=torch.int64)
        step = Step(z_t, timesteps, text, base.added(told, z_t))
    adapter = Adapter(parts["id_ctrl"], parts["id_injectors"], parts.get("id_attention"))
    condition = adapter.condition(parts["id_encoder"](vectors, patches), z_t)
    with adapter.attached(unet, step, condition):
        return unet(z_t, timesteps, encoder_hidden_states=text, added_cond_kwargs=step.added).sample


PATCHES = 257
"""Local features of a photo: ViT-H/14's at 224 px, more than any other's."""


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _storage(tensor: Tensor) -> int:
    """What tells storages apart: on the meta device all addresses are 0."""
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage] # no public identity
