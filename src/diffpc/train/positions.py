"""What a run sees, position by position: the same samples on any number of processes, resumed or not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset


@runtime_checkable
class Samples(Protocol):
    """An endless sequence of training samples; everything random about one derives from its position."""

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The tensors of one sample, without a batch axis."""
        ...

    def key(self, position: int) -> str:
        """What a person looks for when this sample made trouble: the names of its photos."""
        ...


def generator_at(seed: int, position: int) -> torch.Generator:
    """The random state of one sample; hashed, so that no two of a run and no two runs are related."""
    digest = hashlib.sha256(f"{seed}:{position}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))


class Drawn:
    """Samples drawn one by one from data in memory."""

    def __init__(
        self,
        seed: int,
        draw: Callable[[torch.Generator], dict[str, Tensor]],
        name: Callable[[dict[str, Tensor]], str],
    ) -> None:
        """Describe the sequence.

        Args:
            seed: of the run.
            draw: random state -> one sample.
            name: sample -> its key.
        """
        self.seed, self.draw, self.name = seed, draw, name

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The sample at a position."""
        return self.draw(generator_at(self.seed, position))

    def key(self, position: int) -> str:
        """Its name."""
        return self.name(self[position])


class Share:
    """The positions of one process: of every global batch its own slice, cut into micro-batches."""

    def __init__(self, start: int, batch: int, rank: int, world: int, pieces: int) -> None:
        """Describe a share.

        Args:
            start: the first position of the first global batch.
            batch: positions per optimiser step, over all processes; a multiple of world * pieces.
            rank: of this process.
            world: number of processes.
            pieces: micro-batches per process and step (gradient accumulation).
        """
        self.start, self.batch, self.rank, self.pieces = start, batch, rank, pieces
        self.size = batch // (world * pieces)

    def __iter__(self) -> Iterator[list[int]]:
        """Micro-batches without end."""
        first = self.start + self.rank * self.pieces * self.size
        while True:
            for piece in range(self.pieces):
                at = first + piece * self.size
                yield list(range(at, at + self.size))
            first += self.batch


class _Numbered(Dataset[dict[str, Any]]):
    def __init__(self, samples: Samples) -> None:
        self.samples = samples

    def __getitem__(self, position: int) -> dict[str, Any]:
        return {**self.samples[position], "position": position}


def loader(samples: Samples, share: Share, workers: int, pin: bool) -> Iterator[dict[str, Tensor]]:
    """Collated micro-batches, each with its "position" (B,)."""
    return iter(
        DataLoader(
            _Numbered(samples),
            batch_sampler=share,  # pyright: ignore[reportArgumentType]  # an endless one has no length
            num_workers=workers,
            pin_memory=pin,
            persistent_workers=workers > 0,
        )
    )
