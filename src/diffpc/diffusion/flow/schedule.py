"""How noisy a rectified flow is at a timestep, and its Euler steps."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from jaxtyping import Float, Int64
from torch import Tensor

from diffpc.errors import UsageError


def noise_levels(
    timesteps: Int64[Tensor, " B"], scheduler: FlowMatchEulerDiscreteScheduler
) -> Float[Tensor, " B"]:
    """The flow's t in (0, 1] for training timesteps, 0 the cleanest of `num_train_timesteps`.

    The share of noise s is shifted to shift * s / (1 + (shift - 1) * s), so that larger pictures get more noise
    (arXiv 2403.03206, section 5.3.2). Times `num_train_timesteps` it is what the transformer is told. It comes from the
    scheduler's config: its tables are those of its last sampling.

    Raises:
        UsageError: if the shift depends on the picture's size.
    """
    config = scheduler.config
    if config["use_dynamic_shifting"]:
        raise UsageError(
            "use_dynamic_shifting is on, expected a fixed shift as in SD3; set shift, 3 for 1024 px"
        )
    share = (timesteps.float() + 1) / config["num_train_timesteps"]
    return config["shift"] * share / (1 + (config["shift"] - 1) * share)


@dataclass(frozen=True)
class Euler:
    """Euler's method along the flow, in evenly spaced shares of noise that begin at 1 (trailing)."""

    scheduler: FlowMatchEulerDiscreteScheduler

    def timesteps(self, count: int, device: torch.device) -> Tensor:
        """Of that many steps, noisiest first.

        The shares are passed on: left alone, the library shifts their end twice, so that the last step hardly moves.

        Raises:
            UsageError: if the shift depends on the picture's size.
        """
        _check(self.scheduler)
        shares = [1 - done / count for done in range(count)]
        self.scheduler.set_timesteps(sigmas=shares, device=device)
        return cast(Tensor, self.scheduler.timesteps)

    def step(self, predicted: Tensor, timestep: Tensor, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The latents behind a step, and the clean ones as the prediction implies them."""
        share = timestep / self.scheduler.config["num_train_timesteps"]
        scheduler: Any = self.scheduler  # its tensors are declared as those of one type
        return scheduler.step(predicted, timestep, latents, return_dict=False)[0], latents - share * predicted


def _check(scheduler: FlowMatchEulerDiscreteScheduler) -> None:
    if scheduler.config["use_dynamic_shifting"]:
        raise UsageError(
            "use_dynamic_shifting is on, expected a fixed shift as in SD3; set shift, 3 for 1024 px"
        )
