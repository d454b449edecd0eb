"""What is measured, and how: the options of `diffpc bench`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Precision = Literal["float32", "bfloat16"]

TRAINERS = ("ours", "ours_without_id_loss", "controlnet", "naive")
"""Ways to train; see `trainers.CONTENDERS`."""

DRAWERS = (
    "ours",
    "ours_known",
    "ours_compiled",
    "controlnet",
    "controlnet_compiled",
    "ip_adapter",
)
"""Ways to draw; see `drawers.CONTENDERS`."""


@dataclass(frozen=True)
class GenerateBench:
    """Seconds per portrait, decoded photos in, uint8 out, against diffusers' pipelines on the same parts."""

    output: Path
    """JSON file; it is written again after each round."""
    reference: Path
    """Photo of a person. It is decoded before."""
    preset: Literal["tiny", "sdxl"] = "tiny"
    """Sizes of the networks; their weights are random, which dense networks run as fast as any."""
    steps: int = 8
    guidance: float = 1.0
    """At 1 no contender runs a second branch."""
    count: int = 1
    """Portraits in one call."""
    size: int | None = None
    """Side in pixels; default: the preset's."""
    rounds: int = 30
    """Timed portraits of every contender, in turns."""
    warmup: int = 2
    """Portraits of every contender before them; the first is reported by itself."""
    precision: Precision | None = None
    """Default: bfloat16 on a GPU, else float32."""
    device: str | None = None
    """cpu, cuda, ...; default: the GPU if there is one."""
    threads: int = 1
    """Of torch on the CPU."""
    seed: int = 0
    """Of the first portrait, the weights and the intervals."""
    minutes: float = 9.0
    """No round begins later than this after the first."""
    contenders: tuple[str, ...] = DRAWERS


@dataclass(frozen=True)
class TrainBench:
    """Samples per second of the adapter's training against diffusers' way of training a ControlNet."""

    output: Path
    """JSON file; it is written again after each round."""
    size: Literal["tiny", "sdxl"] = "tiny"
    batch: tuple[int, ...] = ()
    """Batch sizes, one configuration each; none takes the recipe's on a CPU, and 1, 2, 4, 8 on a GPU."""
    rounds: int = 5
    """Turns of every contender."""
    steps: int = 5
    """Timed steps of a turn."""
    warmup: int = 2
    """Steps before them."""
    precision: Precision | None = None
    """Default: bfloat16 on a GPU, else float32."""
    device: str | None = None
    """cpu, cuda, ...; default: the GPU if there is one."""
    compile: bool = False
    """torch.compile for the trained networks of all contenders."""
    workers: int = 0
    """Processes that prepare samples."""
    threads: int = 1
    """Of torch on the CPU."""
    minutes: float = 9.0
    """No round begins later than this after the start."""
    contenders: tuple[str, ...] = TRAINERS
    memory: bool = True
    """On a CPU: measure each contender's peak memory in a process of its own."""


@dataclass(frozen=True)
class CurateBench:
    """Photos per second and core of `diffpc curate`, and how well it knows strangers."""

    lfw: Path
    """Folder of Labeled Faces in the Wild: images/PERSON/*.jpg and peopleDevTest.txt."""
    output: Path
    """JSON file."""
    parts: Path | None = None
    """Work folder of a curation of --lfw, for the identity stage."""
    photos: int = 48


@dataclass(frozen=True)
class StartUpBench:
    """Seconds until a command has done its work, each in a process of its own, warm file cache."""

    output: Path
    """JSON file; it is written again after each round."""
    reference: Path
    """Photo of a person that the whole command draws."""
    rounds: int = 5
    """Runs of every command, in turns, after one that is not counted."""
    other: Path | None = None
    """Folder `src` of another version, whose commands take turns with these."""
    minutes: float = 9.0
    """No round begins later than this after the start."""
