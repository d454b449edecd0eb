"""The training loop: one task, one optimiser, progress counted in images.

Run the same command again and it goes on where the last complete checkpoint was written. Every random choice
of a step derives from (seed, images seen), so a resumed run sees exactly what an uninterrupted one would.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from diffpc.errors import DiffPCError
from diffpc.train import checkpoint
from diffpc.weights import check_state


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train."""

    images: int
    """Training images to see in all."""
    batch: int = 32
    """Images per optimiser step."""
    learning_rate: float = 1e-5
    """The paper's rate is constant at 1e-5; small models from scratch take more."""
    schedule: Literal["constant", "cosine"] = "constant"
    """What follows the warm-up."""
    warmup_images: int = 0
    """Images over which the rate rises linearly from 0."""
    weight_decay: float = 1e-2
    """AdamW's decoupled decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's momenta."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient."""
    ema_images: float = 10_000.0
    """Half-life of the weights' moving average, in images; it is shorter at the start. 0 keeps none."""
    seed: int = 0
    """Of every random choice."""
    checkpoint_images: int = 5_000
    """Images between checkpoints."""
    keep: int = 2
    """Checkpoints kept."""


@runtime_checkable
class Task(Protocol):
    """What is trained: its modules, and the loss of one batch."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Name -> module whose parameters are trained and saved."""
        ...

    def losses(self, batch: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalar loss terms of one batch drawn by `generator`; "total" is minimised."""
        ...


@dataclass(frozen=True)
class Report:
    """What one step says of itself."""

    images: int
    """Images seen, this step's included."""
    terms: dict[str, float]
    """Loss terms."""
    seconds: float
    """Wall time of the step."""


class Trainer:
    """Trains a task until `settings.images` are seen, resuming from `folder`."""

    def __init__(self, task: Task, settings: LoopSettings, folder: Path) -> None:
        self.task = task
        self.settings = settings
        self.folder = folder
        self.images = 0
        self.parameters = {
            f"{name}.{key}": parameter
            for name, module in task.modules().items()
            for key, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.buffers = {
            f"{name}.{key}": value
            for name, module in task.modules().items()
            for key, value in module.state_dict().items()
            if key not in dict(module.named_parameters())
        }
        self.optimiser = torch.optim.AdamW(
            list(self.parameters.values()),
            lr=settings.learning_rate,
            betas=settings.betas,
            weight_decay=settings.weight_decay,
            fused=True,
        )
        self.average = (
            {name: parameter.detach().clone() for name, parameter in self.parameters.items()}
            if settings.ema_images
            else {}
        )

    def resume(self) -> list[str]:
        """Load the newest whole checkpoint, if there is one; returns messages about damaged ones.

        Raises:
            InputError: if there is no whole one among them, or it is of another model.
        """
        found = checkpoint.load_latest(self.folder)
        if found is None:
            return []
        tensors, state, messages = found
        weights = {
            name.split("/", 1)[1]: value
            for name, value in tensors.items()
            if name.startswith(("weight/", "buffer/"))
        }
        check_state(weights, self.parameters | self.buffers, self.folder)
        self.images = int(state["images"])
        with torch.no_grad():
            for name, buffer in self.buffers.items():
                buffer.copy_(weights[name])
            for name, parameter in self.parameters.items():
                parameter.copy_(weights[name])
                if name in self.average:  # begun anew where none was kept before
                    self.average[name].copy_(tensors.get(f"average/{name}", weights[name]))
        self._load_optimiser(tensors)
        return messages

    def run(self, report: Callable[[Report], None], stop_at: int | None = None) -> None:
        """Train until `stop_at` (default: all) images are seen, writing checkpoints on the way."""
        end = self.settings.images if stop_at is None else min(self.settings.images, stop_at)
        while self.images < end:
            started = time.perf_counter()
            terms = self.step()
            report(Report(self.images, terms, time.perf_counter() - started))
            if self._due() or self.images >= end:
                self.save()

    def step(self) -> dict[str, float]:
        """One optimiser step; returns the loss terms and the gradient's norm before clipping.

        Raises:
            DiffPCError: if the gradient is not finite; weights and checkpoints are left as they were.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        losses = self.task.losses(self.settings.batch, generator_at(self.settings.seed, self.images))
        losses["total"].backward()
        norm = nn.utils.clip_grad_norm_(list(self.parameters.values()), self.settings.clip_norm).item()
        if not math.isfinite(norm):
            raise DiffPCError(
                f"the gradient at {self.images} images is {norm}; go on from a checkpoint at a lower rate"
            )
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.images += self.settings.batch
        self._update_average()
        return {**{name: value.item() for name, value in losses.items()}, "gradient": norm}

    def rate(self) -> float:
        """Learning rate at the current progress."""
        settings = self.settings
        warmup = min(1.0, (self.images + settings.batch) / max(settings.warmup_images, 1))
        if settings.schedule == "constant":
            return settings.learning_rate * warmup
        return settings.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * self.images / settings.images))

    def save(self) -> Path:
        """Write a checkpoint."""
        tensors = {f"weight/{name}": parameter for name, parameter in self.parameters.items()}
        tensors |= {f"average/{name}": value for name, value in self.average.items()}
        tensors |= {f"buffer/{name}": value for name, value in self.buffers.items()}
        tensors |= self._optimiser_tensors()
        return checkpoint.save(
            self.folder, self.images, tensors, {"settings": asdict(self.settings)}, self.settings.keep
        )

    def averaged(self) -> dict[str, Tensor]:
        """Name -> averaged weight (the weights themselves where no average is kept)."""
        return self.average or {name: value.detach() for name, value in self.parameters.items()}

    def _due(self) -> bool:
        every = self.settings.checkpoint_images
        return self.images // every > (self.images - self.settings.batch) // every

    def _update_average(self) -> None:
        if not self.average:
            return
        half_life = min(self.settings.ema_images, 0.1 * self.images)
        kept = 0.5 ** (self.settings.batch / max(half_life, 1e-8))
        average = list(self.average.values())
        weights = [parameter.detach() for parameter in self.parameters.values()]
        # no public batched lerp
        torch._foreach_lerp_(average, weights, 1 - kept)  # pyright: ignore[reportPrivateUsage]

    def _optimiser_tensors(self) -> dict[str, Tensor]:
        return {
            f"optimiser/{name}/{key}": value.detach().clone() if value.ndim == 0 else value
            for name, parameter in self.parameters.items()
            for key, value in self.optimiser.state[parameter].items()
        }

    def _load_optimiser(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            prefix = f"optimiser/{name}/"
            self.optimiser.state[parameter] = {
                key.removeprefix(prefix): value.to(parameter.device)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }


def generator_at(seed: int, images: int) -> torch.Generator:
    """The random state of the step that starts when `images` have been seen."""
    generator = torch.Generator()
    generator.manual_seed((seed * 1_000_003 + images) & 0x7FFF_FFFF_FFFF_FFFF)
    return generator


class JsonLines:
    """A report that appends averaged terms to a file every `every` images."""

    def __init__(self, file: Path, every: int = 1_000) -> None:
        self.file = file
        self.every = every
        self.sums: dict[str, float] = {}
        self.steps = 0
        self.seconds = 0.0
        self.written: int | None = None

    def __call__(self, report: Report) -> None:
        """Take one step's report."""
        if self.written is None:  # a resumed run begins in the middle
            self.written = (report.images - 1) // self.every
        self.steps += 1
        self.seconds += report.seconds
        for name, value in report.terms.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
        due = report.images // self.every
        if due > self.written:
            self._write(report.images)
            self.written = due

    def _write(self, images: int) -> None:
        row: dict[str, Any] = {"images": images, "seconds_per_step": round(self.seconds / self.steps, 3)}
        row |= {name: round(value / self.steps, 5) for name, value in self.sums.items()}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a") as stream:
            stream.write(json.dumps(row) + "\n")
        self.sums, self.steps, self.seconds = {}, 0, 0.0
