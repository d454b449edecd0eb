import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from diffpc.diffusion.flow.schedule import Euler, noise_levels
from diffpc.errors import UsageError
from tests.diffusion.flow.conftest import new_scheduler


def test_levels_are_the_shifted_shares():
    """Shift 3: a share of 1/2 becomes 3 * 0.5 / (1 + 2 * 0.5) = 0.75, of 1/4 0.75 / 1.5 = 0.5; 1 stays 1."""
    found = noise_levels(torch.tensor([499, 249, 999]), new_scheduler())
    assert found.tolist() == pytest.approx([0.75, 0.5, 1.0])
    plain = noise_levels(torch.tensor([499, 0]), FlowMatchEulerDiscreteScheduler())
    assert plain.tolist() == pytest.approx([0.5, 0.001])


def test_levels_are_the_librarys_and_sampling_does_not_move_them():
    scheduler = new_scheduler()
    fresh = scheduler.sigmas.flip(0)
    every = torch.arange(1000)
    assert torch.allclose(noise_levels(every, scheduler), fresh, atol=1e-6)
    Euler(scheduler).timesteps(4, torch.device("cpu"))
    assert torch.allclose(noise_levels(every, scheduler), fresh, atol=1e-6)


def test_a_shift_that_depends_on_the_size_is_refused():
    scheduler = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)
    with pytest.raises(UsageError, match="use_dynamic_shifting is on"):
        noise_levels(torch.tensor([1]), scheduler)
    with pytest.raises(UsageError, match="use_dynamic_shifting is on"):
        Euler(scheduler).timesteps(4, torch.device("cpu"))


def test_steps_are_trailing_and_shifted_once():
    """Shares 1, 3/4, 1/2, 1/4 at shift 3: 1, 0.9, 0.75, 0.5; then 0."""
    scheduler = new_scheduler()
    found = Euler(scheduler).timesteps(4, torch.device("cpu"))
    assert found.tolist() == pytest.approx([1000, 900, 750, 500])
    assert scheduler.sigmas.tolist() == pytest.approx([1, 0.9, 0.75, 0.5, 0])
