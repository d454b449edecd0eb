import pytest
import torch

from diffpc.diffusion.backbone import TextCondition
from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.injector import IDInjectors
from diffpc.diffusion.sample import Conditions
from tests.pipelines import random_pipeline

WIDTH = 256


def shaken(module, scale=0.05, seed=1):
    """Every parameter a little off, so that nothing is zero any more."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return module


@pytest.fixture(scope="module")
def unet():
    return random_pipeline().unet.requires_grad_(False)


@pytest.fixture
def control(unet):
    return shaken(IDCtrl.from_unet(unet), 0.01)


@pytest.fixture(params=["paper", "gated", "residual", "additive"])
def injectors(unet, request):
    return shaken(IDInjectors.from_unet(unet, form=request.param, kernel=1))


def conditions(batch=1, seed=2):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(batch, *shape, generator=generator)

    text = TextCondition(random(32, WIDTH), random(160))
    return Conditions(text, random(32, WIDTH), random(16, 8, 8))


def inputs(batch=1):
    """z_t, timestep, text tokens, added conditions."""
    found = conditions(batch)
    added = {"text_embeds": found.text.pooled, "time_ids": torch.full((batch, 6), 64.0)}
    latents = torch.randn(batch, 16, 8, 8, generator=torch.Generator().manual_seed(3))
    return latents, torch.tensor(500), found.text.tokens, added


def predict(unet, batch=1):
    latents, timestep, text, added = inputs(batch)
    return unet(latents, timestep, encoder_hidden_states=text, added_cond_kwargs=added).sample


def pyramid(control, batch=1):
    latents, timestep, _, added = inputs(batch)
    found = conditions(batch)
    return control(latents, timestep, found.identity, control.embed_condition(found.z_3d), added)
