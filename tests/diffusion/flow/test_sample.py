from dataclasses import replace
from itertools import pairwise

import pytest
import torch

from diffpc.diffusion.flow.adapter import FlowStep
from diffpc.diffusion.flow.sample import FlowNetworks, denoise
from diffpc.diffusion.flow.schedule import Euler
from diffpc.diffusion.sample import SampleSettings, initial_noise, walk
from diffpc.errors import UsageError
from tests.diffusion.conftest import shaken
from tests.diffusion.flow.conftest import conditions, new_adapter, new_scheduler, of

SETTINGS = SampleSettings(steps=3)


@pytest.fixture
def networks(transformer):
    return FlowNetworks(transformer, of(new_adapter(transformer)), new_scheduler())


@pytest.fixture
def trained(networks):
    shaken(networks.adapter.injectors)
    shaken(networks.adapter.control.condition_in)
    return networks


def noise(batch=1, side=8):
    return initial_noise((4, side, side), list(range(batch)))


@torch.no_grad()
def by_hand(networks, told, latents, steps, strength=1.0):
    """z + (t' - t) v, with everything computed anew at every step."""
    shares = [1 - done / steps for done in range(steps)] + [0.0]
    levels = [3 * share / (1 + 2 * share) for share in shares]
    transformer, adapter = networks.transformer, networks.adapter
    for level, after in pairwise(levels):
        timesteps = torch.full((len(latents),), 1000 * level)
        given = {"encoder_hidden_states": told.text.tokens, "pooled_projections": told.text.pooled}
        step = FlowStep(latents, timesteps, told.text)
        condition = adapter.condition(told.identity.clone(), told.z_3d.clone())
        with adapter.attached(transformer, step, condition, strength):
            velocity = transformer(latents, timestep=timesteps, **given).sample
        latents = latents + (after - level) * velocity
    return latents


@pytest.mark.parametrize("steps", [1, 2, 5, 28])
def test_the_velocity_of_a_single_point_leads_to_it_in_any_number_of_steps(steps):
    """All noise flows to x_0: v = (z_t - x_0) / t."""
    x_0 = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    seen, euler = [], Euler(new_scheduler())

    def step(timestep, latents):
        return euler.step((latents - x_0) / (timestep / 1000), timestep, latents)

    timesteps = euler.timesteps(steps, torch.device("cpu"))
    found = walk(timesteps, step, noise(2), lambda done, clean: seen.append((done, clean)))
    assert torch.allclose(found, x_0, atol=1e-5)
    assert [done for done, _ in seen] == list(range(1, steps + 1))
    assert all(torch.allclose(clean, x_0, atol=1e-5) for _, clean in seen)


def test_an_untrained_adapter_gives_the_bases_latents_bit_for_bit(networks):
    alone = denoise(networks, conditions(2), None, noise(2), replace(SETTINGS, strength=0.0))
    assert torch.equal(denoise(networks, conditions(2), None, noise(2), SETTINGS), alone)


def test_constants_of_a_portrait_are_computed_once_and_change_nothing(trained):
    calls = []
    trained.adapter.control.condition_in.register_forward_hook(lambda *_: calls.append(1))
    found = denoise(trained, conditions(2), None, noise(2), SETTINGS)
    assert len(calls) == 1
    assert torch.allclose(found, by_hand(trained, conditions(2), noise(2), 3), atol=1e-5)
    assert not torch.allclose(found, by_hand(trained, conditions(2), noise(2), 3, 0.0), atol=1e-3)


def test_strength_zero_runs_no_control(trained):
    calls = []
    trained.adapter.control.register_forward_hook(lambda *_: calls.append(1))
    denoise(trained, conditions(), None, noise(), replace(SETTINGS, strength=0.0))
    assert calls == []
    denoise(trained, conditions(), None, noise(), SETTINGS)
    assert len(calls) == 3


@pytest.mark.parametrize(("guidance", "rows"), [(1.0, 2), (3.0, 4)])
def test_guidance_one_runs_one_branch(networks, guidance, rows):
    batches = []
    handle = networks.transformer.proj_out.register_forward_hook(
        lambda _m, args, _o: batches.append(len(args[0]))
    )
    denoise(networks, conditions(2), conditions(2, 9), noise(2), replace(SETTINGS, guidance=guidance))
    handle.remove()
    assert batches == [rows] * 3


def test_guidance_pushes_away_from_the_other_branch(trained):
    told, without, one = conditions(), conditions(seed=9), replace(SETTINGS, steps=1)
    plain, empty = (denoise(trained, branch, None, noise(), one) for branch in (told, without))
    guided = denoise(trained, told, without, noise(), replace(one, guidance=3.0))
    # one step of Euler's method is linear in the velocity, and so is guidance
    assert torch.allclose(guided, empty + 3 * (plain - empty), atol=1e-4)


def test_guidance_without_a_second_branch_is_refused(networks):
    with pytest.raises(UsageError, match=r"guidance 3\.0 needs conditions"):
        denoise(networks, conditions(), None, noise(), replace(SETTINGS, guidance=3.0))


def test_skipped_steps_begin_where_the_noise_is_less(networks):
    """Of steps at 1, 0.857, 0.6 the last one alone is left."""
    timesteps = []
    handle = networks.transformer.register_forward_hook(lambda _m, args, _o: timesteps.append(float(args[3])))
    denoise(networks, conditions(), None, noise(), replace(SETTINGS, skipped=2))
    handle.remove()
    assert timesteps == pytest.approx([600.0])


@pytest.mark.parametrize("side", [7, 26])
def test_sizes_that_the_transformer_cannot_draw_are_refused(networks, side):
    with pytest.raises(UsageError, match=f"latents are {side} x {side}, expected multiples of 2 up to 24"):
        denoise(networks, conditions(side=side), None, noise(side=side), SETTINGS)


def test_other_sizes_than_the_training_size_are_drawn(networks):
    told = conditions(side=12)
    assert denoise(networks, told, None, noise(side=12), SETTINGS).shape == (1, 4, 12, 12)
