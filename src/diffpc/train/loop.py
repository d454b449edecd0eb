"""The training loop: one task, one optimiser, progress counted in images.

Run the same command again and it goes on where the last complete checkpoint was written. Every random choice
derives from (seed, position of the sample), so a resumed run sees exactly what an uninterrupted one would, and
so do runs on any number of processes.
"""

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from diffpc.errors import DiffPCError, UsageError
from diffpc.train import checkpoint
from diffpc.train.changes import refuse_changes
from diffpc.train.engine import Engine, Trainable, like, local, whole
from diffpc.train.positions import Samples, Share, loader
from diffpc.train.settings import EngineSettings, LoopSettings
from diffpc.weights import check_state


@runtime_checkable
class Task(Protocol):
    """What is trained, on what, and towards what."""

    def modules(self) -> Mapping[str, nn.Module]:
        """Name -> module whose parameters are trained and saved."""
        ...

    def frozen(self) -> Mapping[str, nn.Module]:
        """Name -> module that is used as it is; its parameters get no gradient."""
        ...

    @property
    def samples(self) -> Callable[[int], Samples]:
        """Seed -> the sequence of training samples."""
        ...

    def losses(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Loss terms (B,) of collated samples; the mean of "total" is minimised."""
        ...


@dataclass(frozen=True)
class Report:
    """What one step says of itself."""

    images: int
    """Images seen, this step's included."""
    terms: dict[str, float]
    """Means of the loss terms, and the gradient's norm before clipping."""
    seconds: float
    """Wall time of the step."""


class Trainer:
    """Trains a task until `settings.images` are seen, resuming from `folder`.

    Every process makes one; what they do is done together.
    """

    def __init__(
        self,
        task: Task,
        settings: LoopSettings,
        folder: Path,
        engine: Engine | None = None,
        recipe: Mapping[str, Any] | None = None,
    ) -> None:
        """Move the networks to the device and make the optimiser.

        Args:
            task: what is trained.
            settings: how long and how fast.
            folder: of the checkpoints; every process must see it.
            engine: this process's; by default a plain one.
            recipe: more of what made the run (JSON values); a resumed one must have the same.

        Raises:
            UsageError: if the batch cannot be shared by the processes.
        """
        self.task, self.settings, self.folder = task, settings, folder
        self.engine = engine or Engine(EngineSettings())
        self.recipe = {"loop": asdict(settings), **(recipe or {})}
        self.pieces = self.engine.settings.accumulation
        check_batch(settings.batch, self.engine.world, self.pieces)
        self.images = 0
        trained = Trainable(task)
        self.model = self.engine.prepare(trained, task.frozen())
        self.parameters = {name: value for name, value in trained.named_parameters() if value.requires_grad}
        fixed = dict(trained.named_parameters())
        self.buffers = {name: value for name, value in trained.state_dict().items() if name not in fixed}
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
        self.samples = task.samples(settings.seed)
        self.batches: Iterator[dict[str, Tensor]] | None = None

    def resume(self) -> list[str]:
        """Load the newest whole checkpoint, if there is one; returns messages about damaged ones.

        Raises:
            InputError: if there is no whole one among them, or it is of another model.
            UsageError: if the run was begun with other settings; the message names them.
        """
        found = checkpoint.load_latest(self.folder)
        if found is None:
            return []
        tensors, state, messages = found
        refuse_changes(state["settings"], self.recipe, self.folder)
        weights = {
            name.split("/", 1)[1]: value
            for name, value in tensors.items()
            if name.startswith(("weight/", "buffer/"))
        }
        check_state(weights, self.parameters | self.buffers, self.folder)
        self.images = int(state["images"])
        self.batches = None
        with torch.no_grad():
            for name, buffer in self.buffers.items():
                buffer.copy_(weights[name])
            for name, parameter in self.parameters.items():
                parameter.copy_(like(weights[name], parameter))
                if name in self.average:  # begun anew where none was kept before
                    kept = tensors.get(f"average/{name}", weights[name])
                    self.average[name].copy_(like(kept, parameter))
        self._load_optimiser(tensors)
        return messages

    def run(self, report: Callable[[Report], None], stop_at: int | None = None) -> None:
        """Train until `stop_at` (default: all) images are seen, writing checkpoints on the way."""
        end = self.settings.images if stop_at is None else min(self.settings.images, stop_at)
        while self.images < end:
            started = time.perf_counter()
            terms = self.step()
            report(Report(self.images, terms, time.perf_counter() - started))
            if self.due(self.settings.checkpoint_images) or self.images >= end:
                self.save()

    def step(self) -> dict[str, float]:
        """One optimiser step; returns the means of the loss terms and the gradient's norm before clipping.

        Raises:
            DiffPCError: if the gradient is not finite; the message names the samples, and a checkpoint of the
                weights before this step is written.
        """
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        found = [self._micro_step(last=piece == self.pieces - 1) for piece in range(self.pieces)]
        norm = whole(nn.utils.clip_grad_norm_(list(self.parameters.values()), self.settings.clip_norm))
        names = list(found[0][1])
        means = torch.stack([torch.stack([terms[name].mean() for name in names]) for _, terms in found])
        # One transfer: each makes the host wait until the device has nothing left to do.
        *terms, size = torch.cat([self.engine.mean(means.mean(0)), norm[None]]).tolist()
        if not math.isfinite(size):
            self._give_up(size, found)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        self.images += self.settings.batch
        self._update_average()
        return {**dict(zip(names, terms, strict=True)), "gradient": size}

    def rate(self) -> float:
        """Learning rate at the current progress."""
        settings = self.settings
        warmup = min(1.0, (self.images + settings.batch) / max(settings.warmup_images, 1))
        if settings.schedule == "constant":
            return settings.learning_rate * warmup
        return settings.learning_rate * warmup * 0.5 * (1 + math.cos(math.pi * self.images / settings.images))

    def save(self) -> None:
        """Write a checkpoint; the first process does, with the shards of all.

        Raises:
            InputError: if it cannot be written; those before it stay as they are.
        """
        tensors = {f"weight/{name}": whole(value.detach()) for name, value in self.parameters.items()}
        tensors |= {f"average/{name}": whole(value) for name, value in self.average.items()}
        tensors |= {f"buffer/{name}": value for name, value in self.buffers.items()}
        tensors |= self._optimiser_tensors()
        if self.engine.main:
            state = {"settings": self.recipe}
            checkpoint.save(self.folder, self.images, tensors, state, self.settings.keep)
        self.engine.wait()

    def averaged(self) -> dict[str, Tensor]:
        """Name -> averaged weight (the weights themselves where no average is kept), whole; buffers too."""
        kept = self.average or {name: value.detach() for name, value in self.parameters.items()}
        return {name: whole(value) for name, value in kept.items()} | self.buffers

    def due(self, every: int) -> bool:
        """Whether a multiple of `every` images was passed with the last step; 0 never is."""
        return every > 0 and self.images // every > (self.images - self.settings.batch) // every

    def _micro_step(self, last: bool) -> tuple[Tensor, dict[str, Tensor]]:
        """Add one micro-batch's gradient; its positions and loss terms (B,)."""
        if self.batches is None:
            engine = self.engine
            share = Share(self.images, self.settings.batch, engine.rank, engine.world, self.pieces)
            on_gpu = engine.device.type == "cuda"
            self.batches = loader(self.samples, share, engine.settings.workers, pin=on_gpu)
        batch = {
            name: value.to(self.engine.device, non_blocking=True)
            for name, value in next(self.batches).items()
        }
        positions = batch.pop("position")
        with self.engine.accumulating(self.model, last), self.engine.attention():
            with self.engine.autocast():
                terms = self.model(batch)
            self.engine.accelerator.backward(terms["total"].mean() / self.pieces)
        return positions, {name: value.detach() for name, value in terms.items()}

    def _give_up(self, norm: float, found: list[tuple[Tensor, dict[str, Tensor]]]) -> None:
        """Stop all processes at once: name the samples, keep the weights."""
        bad = [
            self.samples.key(int(position))
            for positions, terms in found
            for position, loss in zip(positions.tolist(), terms["total"].tolist(), strict=True)
            if not math.isfinite(loss)
        ]
        named = self.engine.gathered(bad)
        self.optimiser.zero_grad(set_to_none=True)
        self.save()
        which = f"because of {', '.join(named)}" if named else "though every sample's loss is finite"
        raise DiffPCError(
            f"the gradient at {self.images} images is {norm}, {which}; the weights before this step are saved "
            f"in {self.folder}: leave the samples out, or lower the rate"
        )

    def _update_average(self) -> None:
        if not self.average:
            return
        half_life = min(self.settings.ema_images, 0.1 * self.images)
        kept = 0.5 ** (self.settings.batch / max(half_life, 1e-8))
        average = [local(value) for value in self.average.values()]
        weights = [local(parameter.detach()) for parameter in self.parameters.values()]
        # no public batched lerp
        torch._foreach_lerp_(average, weights, 1 - kept)  # pyright: ignore[reportPrivateUsage]

    def _optimiser_tensors(self) -> dict[str, Tensor]:
        return {
            f"optimiser/{name}/{key}": value.detach().clone() if value.ndim == 0 else whole(value)
            for name, parameter in self.parameters.items()
            for key, value in self.optimiser.state[parameter].items()
        }

    def _load_optimiser(self, tensors: dict[str, Tensor]) -> None:
        for name, parameter in self.parameters.items():
            prefix = f"optimiser/{name}/"
            self.optimiser.state[parameter] = {
                key.removeprefix(prefix): like(value, parameter)
                for key, value in tensors.items()
                if key.startswith(prefix)
            }


def check_batch(batch: int, world: int, pieces: int) -> None:
    """Refuse a batch that does not divide.

    Args:
        batch: images per optimiser step.
        world: number of processes.
        pieces: micro-batches per process and step.

    Raises:
        UsageError: if so; the message says which would.
    """
    if batch % (world * pieces):
        raise UsageError(
            f"a batch of {batch} cannot be shared by {world} processes with {pieces} micro-batches each; "
            f"choose a multiple of {world * pieces}"
        )


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
