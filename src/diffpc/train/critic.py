"""A critic: what a picture shows, read from its latents however noisy they are.

The generator is told by it whether portraits obey (`diffpc.train.obey`). It looks at noised latents, as the
discriminators of latent adversarial diffusion distillation do (arXiv 2403.12015): pictures that only just fool a
network do not survive the noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import DDIMScheduler
from diffusers.models.embeddings import get_timestep_embedding
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from diffpc.errors import InputError
from diffpc.train import checkpoint, loss
from diffpc.train.positions import Drawn
from diffpc.types import Say
from diffpc.weights import check_state

NOISIEST = 700
"""Timestep beyond which a critic is not asked: nothing is left to see."""

RAREST = 0.02
"""A phrase that fewer pictures show counts as if so many did: a handful of photos must not outweigh all others."""


@dataclass(frozen=True)
class CriticSettings:
    """Sizes of a critic."""

    channels: int
    """Of the latents."""
    side: int
    """Of the latents."""
    phrases: int
    """Yes-or-no outputs."""
    values: int
    """Measured outputs."""
    width: int = 96
    """Channels of the first level; the next have twice and three times as many."""


@dataclass(frozen=True)
class Reading:
    """What a critic sees."""

    phrases: Float[Tensor, "B P"]
    """Log odds."""
    values: Float[Tensor, "B V"]
    """Standardised."""
    features: tuple[Float[Tensor, "B _ _ _"], ...]
    """Of its levels, the finest first."""


class Block(nn.Module):
    """A residual block that is told the noise level; it may halve the side."""

    def __init__(self, entering: int, leaving: int, embedding: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Sequential(
            nn.GroupNorm(8, entering), nn.SiLU(), nn.Conv2d(entering, leaving, 3, stride=stride, padding=1)
        )
        self.level = nn.Linear(embedding, leaving)
        self.second = nn.Sequential(
            nn.GroupNorm(8, leaving), nn.SiLU(), nn.Conv2d(leaving, leaving, 3, padding=1)
        )
        self.skip = nn.Conv2d(entering, leaving, 1)
        self.stride = stride

    def forward(self, hidden: Float[Tensor, "B X H W"], embedded: Float[Tensor, "B E"]) -> Tensor:
        """(B, Y, H / stride, W / stride)."""
        inner = self.second(self.first(hidden) + self.level(embedded)[:, :, None, None])
        short = functional.avg_pool2d(hidden, self.stride) if self.stride > 1 else hidden
        return self.skip(short) + inner


class Critic(nn.Module):
    """(z_t, t) -> what the picture shows."""

    mean: Tensor
    deviation: Tensor
    share: Tensor

    def __init__(self, settings: CriticSettings) -> None:
        super().__init__()
        self.settings = settings
        width, embedding = settings.width, 2 * settings.width
        self.embed = nn.Sequential(
            nn.Linear(32, embedding), nn.SiLU(), nn.Linear(embedding, embedding), nn.SiLU()
        )
        self.enter = nn.Conv2d(settings.channels, width, 3, padding=1)
        sizes = (
            (width, width, 1),
            (width, 2 * width, 2),
            (2 * width, 2 * width, 1),
            (2 * width, 3 * width, 2),
        )
        self.blocks = nn.ModuleList(Block(*size[:2], embedding, size[2]) for size in sizes)
        self.hidden = nn.Sequential(
            nn.GroupNorm(8, 3 * width),
            nn.SiLU(),
            nn.Flatten(),
            nn.Linear(3 * width * (settings.side // 4) ** 2, 256),
            nn.SiLU(),
        )
        self.phrases = nn.Linear(256, settings.phrases)
        self.values = nn.Linear(256, settings.values)
        self.register_buffer("mean", torch.zeros(settings.values))
        self.register_buffer("deviation", torch.ones(settings.values))
        self.register_buffer("share", torch.full((settings.phrases,), 0.5))

    @torch.no_grad()
    def fit(self, phrases: Float[Tensor, "N P"], values: Float[Tensor, "N V"]) -> None:
        """Learn how often phrases are true, and how values are spread."""
        self.share.copy_(phrases.mean(0).clamp(RAREST, 1 - RAREST))
        self.mean.copy_(values.mean(0))
        self.deviation.copy_(values.std(0).clamp_min(1e-3))

    def standardised(self, values: Float[Tensor, "B V"]) -> Float[Tensor, "B V"]:
        """On the scale of `Reading.values`."""
        return (values - self.mean) / self.deviation

    def forward(self, z_t: Float[Tensor, "B C H W"], timesteps: Int64[Tensor, " B"]) -> Reading:
        """Read latents at timesteps of 0 to `NOISIEST`."""
        waves = get_timestep_embedding(timesteps, 32, downscale_freq_shift=0, max_period=1000)
        embedded = self.embed(waves.to(z_t.dtype))
        hidden = self.enter(z_t.contiguous(memory_format=torch.channels_last))
        features: list[Tensor] = []
        for block in self.blocks:
            hidden = block(hidden, embedded)
            features.append(hidden)
        found = self.hidden(hidden).float()
        return Reading(self.phrases(found), self.values(found), (features[0], features[2], features[3]))


def phrase_loss(
    logits: Float[Tensor, "B P"], wanted: Float[Tensor, "B P"], share: Float[Tensor, " P"] | None = None
) -> Float[Tensor, "B P"]:
    """Cross entropy of yes (1) or no (0); with their shares both answers weigh alike over all pictures."""
    terms = functional.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    if share is None:
        return terms
    return terms * (wanted / (2 * share) + (1 - wanted) / (2 * (1 - share)))


def load_critic(run: Path, say: Say) -> Critic:
    """The averaged weights of a critic's run.

    Raises:
        InputError: if the folder holds none.
    """
    found = checkpoint.load_latest(run)
    if found is None:
        raise InputError(
            f"{run}: holds no checkpoint; train a critic there: diffpc train tiny_critic --output {run}"
        )
    tensors, _, messages = found
    for message in messages:
        say(message)
    state = {
        name.split("/critic.", 1)[1]: value
        for name, value in tensors.items()
        if name.startswith(("average/critic.", "buffer/critic."))
    }
    names = ("enter.weight", "hidden.3.weight", "phrases.weight", "values.weight")
    if not all(name in state for name in names):
        raise InputError(f"{run}: is no critic's run; give the --output of diffpc train tiny_critic")
    enter, hidden, phrases, values = (state[name].shape for name in names)
    side = 4 * math.isqrt(hidden[1] // (3 * enter[0]))
    critic = Critic(CriticSettings(enter[1], side, phrases[0], values[0], enter[0]))
    check_state(state, critic.state_dict(), run)
    critic.load_state_dict(state)
    return critic


class CriticTask:
    """The critic learns from photos: what their captions say, and their 3D faces."""

    def __init__(
        self,
        critic: Critic,
        latents: Float[Tensor, "N C H W"],
        labels: tuple[Float[Tensor, "N P"], Float[Tensor, "N V"]],
        scheduler: DDIMScheduler,
    ) -> None:
        """Set the lesson.

        Args:
            critic: to be trained.
            latents: of the photos, scaled.
            labels: phrases that are true (1) or not (0), and values.
            scheduler: whose noise it is to look through.
        """
        self.critic, self.latents, self.scheduler = critic, latents, scheduler
        self.phrases, self.values = labels

    def modules(self) -> Mapping[str, nn.Module]:
        """The critic."""
        return {"critic": self.critic}

    def frozen(self) -> Mapping[str, nn.Module]:
        """Nothing: latents are cached."""
        return {}

    def samples(self, seed: int) -> Drawn:
        """Latents, their labels, noise and its level."""
        return Drawn(seed, self._draw, lambda sample: f"photo {int(sample['index'])}")

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Weighed cross entropy of the phrases, and squared error of the values."""
        z_t = loss.noised(batch["z_0"].float(), batch["noise"], batch["timestep"], self.scheduler)
        found = self.critic(z_t, batch["timestep"])
        phrases = phrase_loss(found.phrases, batch["phrases"], self.critic.share).mean(1)
        values = (found.values - self.critic.standardised(batch["values"])).square().mean(1)
        return {"phrases": phrases, "values": values, "total": phrases + values}

    def _draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        index = torch.randint(len(self.latents), (), generator=generator)
        return {
            "index": index,
            "z_0": self.latents[index],
            "phrases": self.phrases[index],
            "values": self.values[index],
            "noise": torch.randn(self.latents.shape[1:], generator=generator),
            "timestep": torch.randint(NOISIEST, (), generator=generator),
        }
