"""What a user asks for, checked as far as that needs no photo and no model."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from diffpc.changes import ModelOptions
from diffpc.errors import InputError, UsageError

MAX_SEED = 2**63 - 1

FACE_PASSES = ("auto", "on", "off")
"""As `pipeline.PortraitSettings` has them."""

MAX_TRIES = 64
"""Seeds of one request."""


@dataclass(frozen=True)
class Wanted:
    """Who, how and where to. None: not given."""

    reference: tuple[Path, ...] = ()
    """Photos of the person; several are averaged into one identity."""
    identity: Path | None = None
    """Identity file of the person instead of photos; see `diffpc identity`."""
    target: Path | None = None
    """Photo whose head pose and place, and expression, the portrait takes. Without it and --pose: the
    reference's own. A video, or a folder of pictures, is a film: --output FOLDER gets a portrait for each frame."""
    pose: tuple[float, float, float] | None = None
    """Head pose in degrees instead of a target: yaw > 0 to the image's right, pitch > 0 up, roll > 0
    clockwise."""
    place: tuple[float, float, float] | None = None
    """With --pose: centre and height of the face as fractions of the picture."""
    expression: str | None = None
    """A name (neutral, smile, laugh, open_mouth, surprise ...) or a photo whose expression is taken."""
    prompt: str | None = None
    """Everything that is not the face: clothes, light, place, style."""
    output: Path | None = None
    """The PNG to write; with --count, OUT-0.png, OUT-1.png ..."""


@dataclass(frozen=True)
class Request(ModelOptions, Wanted):
    """A portrait of a person: photo + pose and expression + prompt -> PNG. None: not given."""

    steps: int | None = None
    """Denoising steps."""
    guidance: float | None = None
    """Classifier-free guidance; 1 is off and runs half as long."""
    strength: float | None = None
    """Identity strength; 0 is the base model alone."""
    seed: int | None = None
    """Seed of the first portrait; the same seed gives the same PNG."""
    count: int | None = None
    """Portraits to draw, with seeds counting up."""
    best_of: int | None = None
    """Draw this many seeds and keep the best by likeness, pose and expression; as many of them as --count says."""
    face_pass: str | None = None
    """Second pass over a small face: auto, on (also lets the face be as small as it is asked for) or off."""
    compile: bool | None = None
    """Run each step as one compiled graph: minutes for the first portrait of a size, less for each that follows,
    so for --batch, --count and films; needs a C++ compiler."""
    size: tuple[int, int] | None = None
    """Width and height in pixels."""
    face: int | None = None
    """Which face of the reference, 0 the largest."""
    target_face: int | None = None
    """Which face of the target, 0 the largest."""
    stages: Path | None = None
    """Folder for pictures of what each stage saw."""
    replay: Path | None = None
    """A PNG that diffpc wrote: take its settings, where no other are given."""


@dataclass(frozen=True)
class Series:
    """More than one portrait's worth of requests. None: not given."""

    batch: Path | None = None
    """File of JSON Lines: one object a line with options as here, {"reference": ..., "prompt": ..., "output": ...}.
    Options given beside it hold for every line that has none of its own; --output is the folder, which also gets
    results.jsonl. Run again, it draws what is not drawn yet."""
    animation: Path | None = None
    """With a film as --target: OUT.webp or OUT.mp4 to write besides the frames."""
    every: int | None = None
    """With a film: take one frame of so many."""
    smooth: float | None = None
    """With a film: standard deviation in frames of the Gaussian over pose, place and expression; 0 is off."""


def is_photo(expression: str) -> bool:
    """Whether an expression is meant as a photo: a file, or at least written like one."""
    return "/" in expression or "." in expression or Path(expression).is_file()


def check_options(request: Request) -> None:
    """Refuse options that are missing, out of range or contradict each other.

    Raises:
        UsageError: naming the option and the remedy.
    """
    faults = {
        "--reference is missing; pass a photo of the person, or --identity": not (
            request.reference or request.identity
        ),
        "--reference and --identity exclude each other; pass one of them": request.reference
        and request.identity,
        "--face needs --reference; an identity file knows its face": request.face is not None
        and request.identity,
        f"--best-of is out of range; choose {max(request.count or 1, 2)} to {MAX_TRIES}, not less than --count": (
            request.best_of is not None and not max(request.count or 1, 2) <= request.best_of <= MAX_TRIES
        ),
        "--prompt is missing; say what the portrait shows": request.prompt is None,
        "--target and --pose exclude each other; pass one of them": request.target and request.pose,
        "--place needs --pose; pass --pose YAW PITCH ROLL with it": request.place and not request.pose,
        "--target-face needs --target; pass the photo with it": request.target_face is not None
        and not request.target,
        f"--seed is out of range; choose 0 to {MAX_SEED}": not 0
        <= (request.seed or 0)
        <= MAX_SEED - drawn_seeds(request),
        f"--face-pass is {request.face_pass!r}; choose one of: {', '.join(FACE_PASSES)}": request.face_pass
        not in (None, *FACE_PASSES),
        "--pose is out of range; choose yaw and pitch within -90 to 90, roll within -180 to 180": request.pose
        and not all(abs(angle) <= limit for angle, limit in zip(request.pose, (90, 90, 180), strict=True)),
        "--place is out of range; choose fractions of the picture above 0, up to 1": request.place
        and not all(0 < value <= 1 for value in request.place),
    }
    for message, present in faults.items():
        if present:
            raise UsageError(message)


def drawn_seeds(request: Request) -> int:
    """How many seeds are drawn, those that are thrown away included."""
    return request.best_of or request.count or 1


def output_paths(output: Path, count: int) -> list[Path]:
    """OUT.png, or OUT-0.png, OUT-1.png ... for several."""
    if count == 1:
        return [output]
    return [output.with_name(f"{output.stem}-{number}{output.suffix}") for number in range(count)]


def checked_output(request: Request) -> Path:
    """The PNG to write, once it is sure that all results can be written and no photo is overwritten.

    Raises:
        UsageError: if the output is no .png, or one of the photos.
        InputError: if a folder cannot be written.
    """
    output = request.output
    if output is None:
        raise UsageError("--output is missing; name the PNG to write")
    if output.suffix.lower() != ".png":
        raise UsageError(f"{output}: the portrait is a PNG; give --output a name that ends in .png")
    photos = [*request.reference, request.identity, request.target, Path(request.expression or "")]
    taken = {photo.resolve() for photo in photos if photo}
    for path in output_paths(output, request.count or 1):
        if path.resolve() in taken:
            raise UsageError(f"{path}: is one of the inputs; give --output another name")
        if path.is_dir():
            raise UsageError(f"{path}: is a folder; give --output the name of a PNG in it")
        _check_writable(path.parent)
    if request.stages:
        _check_writable(request.stages)
    return output


def _check_writable(folder: Path) -> None:
    place = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
    if not place.is_dir() or not os.access(place, os.W_OK):
        raise InputError(f"{folder}: cannot be written; choose a folder you may write to")
