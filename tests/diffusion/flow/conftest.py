"""A transformer in SD3's layout with random weights, and what it is told."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel

from diffpc.diffusion.backbone import TextCondition
from diffpc.diffusion.flow.adapter import FlowAdapter, FlowStep, build_flow_adapter
from diffpc.diffusion.sample import Conditions
from diffpc.settings import AdapterSettings

WIDTH = 64
TINY = {
    "sample_size": 8,
    "patch_size": 2,
    "in_channels": 4,
    "out_channels": 4,
    "num_layers": 4,
    "attention_head_dim": 32,
    "num_attention_heads": 2,
    "joint_attention_dim": 48,
    "caption_projection_dim": WIDTH,
    "pooled_projection_dim": 24,
    "pos_embed_max_size": 12,
}
SETTINGS = AdapterSettings(
    global_width=16,
    local_width=20,
    tokens=6,
    layers=1,
    heads=2,
    injector="residual",
    kernel=1,
)


def new_transformer(seed=0, **changed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return SD3Transformer2DModel(**(TINY | changed)).eval().requires_grad_(False)


def new_adapter(transformer, settings=SETTINGS, seed=1, **options):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_flow_adapter(settings, transformer, **options)


def of(parts):
    return FlowAdapter(parts["id_ctrl"], parts["id_injectors"])


def new_scheduler():
    return FlowMatchEulerDiscreteScheduler(shift=3.0)


@pytest.fixture(scope="module")
def transformer():
    return new_transformer()


def conditions(batch=1, seed=2, side=8):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(batch, *shape, generator=generator)

    text = TextCondition(random(5, 48), random(24))
    return Conditions(text, random(6, WIDTH), random(4, side, side))


def new_step(batch=1, side=8, told=None):
    latents = torch.randn(batch, 4, side, side, generator=torch.Generator().manual_seed(3))
    return FlowStep(latents, torch.full((batch,), 600.0), (told or conditions(batch)).text)


def steered(transformer, adapter, told, step, strength=1.0):
    condition = adapter.condition(told.identity, told.z_3d, told.z_skin)
    with adapter.attached(transformer, step, condition, strength):
        return step.predict(transformer)
