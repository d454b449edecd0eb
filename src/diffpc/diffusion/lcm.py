"""The sampler of latent consistency models: each step but the last noises its estimate of the clean latents anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from diffusers import LCMScheduler
from jaxtyping import Float
from torch import Tensor

from diffpc.diffusion import ddim
from diffpc.errors import UsageError


@dataclass(frozen=True)
class Moment(ddim.Moment):
    """One step, with what it adds."""

    shares: Float[Tensor, "2"]
    """c_skip and c_out: of the latents and of the estimate in the step's estimate (arXiv 2310.04378, Sec. 4.1)."""
    noise: Float[Tensor, "B C H W"] | None
    """What noises the estimate anew; None behind the last step."""


def moments(
    scheduler: LCMScheduler, steps: int, skipped: int, noise: Tensor, seeds: Sequence[int]
) -> list[Moment]:
    """The steps that are not skipped, on the noise's device; numbers as the library's, bit for bit.

    Args:
        scheduler: its noise schedule and spacing count.
        steps: of a whole portrait.
        skipped: steps left out at the beginning.
        noise: of the portraits, which every portrait's generator has drawn first.
        seeds: one per portrait: a portrait's noise is its own in every batch.

    Raises:
        UsageError: if a portrait has no seed.
    """
    if len(seeds) != len(noise):
        raise UsageError(
            f"LCM adds noise at every step: {len(noise)} portraits need as many seeds, not {len(seeds)}"
        )
    generators = [torch.Generator().manual_seed(seed) for seed in seeds]

    def drawn() -> Tensor:
        return torch.stack([torch.randn(noise.shape[1:], generator=one) for one in generators]).to(
            noise.device
        )

    drawn()
    scheduler.set_timesteps(steps)
    timesteps = scheduler.timesteps
    abar = scheduler.alphas_cumprod
    found: list[Moment] = []
    for number in range(skipped, steps):
        here, last = abar[timesteps[number]], number == steps - 1
        behind = here if last else abar[timesteps[number + 1]]
        roots = torch.stack([here.sqrt(), (1 - here).sqrt(), behind.sqrt(), (1 - behind).sqrt()])
        # declared for whole numbers; a tensor keeps the library's own rounding
        blend = scheduler.get_scalings_for_boundary_condition_discrete(cast(int, timesteps[number]))
        shares = torch.stack([torch.as_tensor(share, dtype=torch.float32) for share in blend])
        timestep, roots, shares = (one.to(noise.device) for one in (timesteps[number], roots, shares))
        found.append(Moment(timestep, roots, shares, None if last else drawn()))
    return found


def advanced(
    kind: str, moment: Moment, predicted: Float[Tensor, "B C H W"], latents: Float[Tensor, "B C H W"]
) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B C H W"]]:
    """Latents behind the step, and the estimate of the clean ones; see `ddim.advanced`."""
    alpha, beta, next_alpha, next_beta = moment.roots.unbind()
    skip, out = moment.shares.unbind()
    estimate, _ = ddim.prediction(kind)(predicted, latents, alpha, beta)
    clean = out * estimate + skip * latents
    return clean if moment.noise is None else next_alpha * clean + next_beta * moment.noise, clean
