"""A film as the target: one portrait per frame, of one person, from one noise, under smoothed 3D parameters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import torch

from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.face3d.predict import condition
from diffpc.face3d.smooth import filled, smoothed
from diffpc.face3d.written import written
from diffpc.faces.detect import choose_face
from diffpc.generate.animation import write_animation, writer_of
from diffpc.generate.detail import Detail
from diffpc.generate.frames import Film, frames, opened_film
from diffpc.generate.prepare import Job, prepared
from diffpc.generate.replay import recorded
from diffpc.generate.request import Request, Series, drawn_seeds
from diffpc.generate.run import check_early, drawing, dtype_name, other_expression
from diffpc.generate.session import Session
from diffpc.images import write_png
from diffpc.loading import chosen_device
from diffpc.provenance import XMP_KEYWORD, Provenance, png_metadata
from diffpc.records import read_json, write_json
from diffpc.types import Face, FaceParams, Image

CLAIM = "sequence.json"
"""In the output folder: which request its frames are of."""

LONGEST_GAP = 12
"""Frames without a face that are bridged."""

SMOOTH = 1.5
"""Standard deviation of the Gaussian over the parameters, in frames."""

JUMP = 1.0
"""How far a face may move from one frame to the next, in sides of its box; beyond it is another one."""

Bar = Callable[[Iterable[Any], str], Iterable[Any]]
"""Shows how far a loop is; takes what it loops over, and its name."""


@dataclass(frozen=True)
class FilmOutcome:
    """What became of a film."""

    folder: str
    frames: int
    """Taken of the film."""
    drawn: int
    """Portraits drawn now."""
    kept: int
    """Portraits drawn before."""
    bridged: tuple[int, ...]
    """Frames without a face, whose parameters lie between their neighbours'."""
    skipped: tuple[int, ...]
    """Frames without a face and without a portrait: at the ends, or in a gap too long to bridge."""
    animation: str | None


def draw_film(request: Request, series: Series, session: Session, bar: Bar | None = None) -> FilmOutcome:
    """Draw a portrait for every frame; the same call goes on after a stop.

    Args:
        request: its target is the film, its output the folder of the portraits.
        series: how to take and smooth the frames.
        session: keeps model and person.
        bar: shows the progress; None shows none.

    Raises:
        UsageError: for options that a sequence cannot have, or a folder with another sequence.
        InputError: if the film cannot be read, or shows no face.
    """
    bar = bar or _silent
    job, path = _checked(request, series)
    folder = job.output.parent
    film = opened_film(path, _every(series))
    model = session.model(job.request)
    model.pipeline.set_progress_bar_config(disable=True)
    settings = drawing(job.request, model.pipeline)
    identity = session.sitter(job).identity
    _claim(folder, job, film, _smooth(series), model.weights)
    seen = _tracked(film, model.pipeline.eyes, request.target_face, bar)
    poses = smoothed(filled(seen, LONGEST_GAP), _smooth(series))
    expression = other_expression(job, model.pipeline)
    note = recorded(job, settings, str(chosen_device(request.device)), dtype_name(model.pipeline))
    provenance = Provenance(version("diffpc"), request.prompt or "", settings.seed, note, model.weights)
    places = {at: folder / f"{at:05d}.png" for at, pose in enumerate(poses) if pose}
    missing = [at for at, place in places.items() if not place.is_file()]
    for at in bar(missing, "portraits"):
        pose = cast(FaceParams, poses[at])
        wanted = condition(identity.params, expression or pose, pose)
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
            made = model.pipeline(identity, wanted, request.prompt or "", settings)
        detail = Detail(params=written(pose), film=(path.name, film.digest, at))
        here = replace(provenance, settings=note | detail.recorded())
        write_png(places[at], made.portraits[0].image, png_metadata(here))
    if series.animation:
        write_animation(
            list(places.values()), series.animation, film.rate, png_metadata(provenance)[XMP_KEYWORD]
        )
    return FilmOutcome(
        folder=str(folder),
        frames=len(seen),
        drawn=len(missing),
        kept=len(places) - len(missing),
        bridged=tuple(at for at, one in enumerate(seen) if one is None and poses[at] is not None),
        skipped=tuple(at for at, one in enumerate(poses) if one is None),
        animation=str(series.animation) if series.animation else None,
    )


def _silent(numbers: Iterable[Any], _: str) -> Iterable[Any]:
    return numbers


def _checked(request: Request, series: Series) -> tuple[Job, Path]:
    """The job of the person and the looks, and the film."""
    folder, path = request.output, request.target
    if folder is None or folder.suffix.lower() == ".png" or path is None:
        raise UsageError("--target with a film needs --output FOLDER for the frames; name a folder")
    if drawn_seeds(request) > 1 or request.pose or request.stages:
        raise UsageError("--count, --best-of, --pose and --stages do not go with a film; leave them out")
    if _every(series) < 1 or not 0 <= _smooth(series) <= 100:
        raise UsageError("--every or --smooth is out of range; choose 1 or more, and 0 to 100 frames")
    if series.animation:
        writer_of(series.animation)
    job = prepared(replace(request, target=None, target_face=None, output=folder / "00000.png"))
    check_early(job)
    return job, path


def _every(series: Series) -> int:
    return 1 if series.every is None else series.every


def _smooth(series: Series) -> float:
    return SMOOTH if series.smooth is None else series.smooth


def _claim(folder: Path, job: Job, film: Film, smooth: float, weights: dict[str, str]) -> None:
    """Note in the folder what its frames are of; frames of another sequence must not mix with them."""
    asked = {name: value for name, value in asdict(job.request).items() if name not in ("output", "device")}
    mine = json.loads(json.dumps({"request": asked, "weights": weights}, default=str))
    mine |= {"film": film.digest, "every": film.every, "smooth": smooth}
    path = folder / CLAIM
    if not path.exists():
        write_json(path, mine)
    elif read_json(path, "remove the folder, or choose another") != mine:
        raise UsageError(
            f"{folder}: holds the frames of another sequence; choose another folder, or remove it"
        )


def _tracked(film: Film, eyes: Eyes, index: int | None, bar: Bar) -> list[FaceParams | None]:
    """The 3D face of every frame: of the first face that is meant, then of the one nearest to the last place."""
    found: list[FaceParams | None] = []
    last: Face | None = None
    size = (0, 0)
    for number, image in enumerate(bar(frames(film), "faces")):
        if number and image.shape[:2] != size:
            raise InputError(
                f"{film.path}: frame {number} is {image.shape[1]} x {image.shape[0]} px, the first "
                f"{size[1]} x {size[0]}; give frames of one size"
            )
        size = (image.shape[0], image.shape[1])
        face = _face_of(image, last, eyes, index, f"{film.path}, frame {number}")
        found.append(eyes.params(image, face) if face else None)
        last = face or last
    if not any(found):
        raise InputError(f"{film.path}: no face found in any of {len(found)} frames; give another film")
    return found


def _face_of(image: Image, last: Face | None, eyes: Eyes, index: int | None, name: str) -> Face | None:
    faces = eyes.detector(image)
    if last is None:
        return choose_face(faces, index, name, eyes.detector.tried, "--target-face") if faces else None
    nearest = min(faces, key=lambda face: _moved(last, face), default=None)
    return nearest if nearest and _moved(last, nearest) <= JUMP else None


def _moved(before: Face, after: Face) -> float:
    """The distance of two faces' centres, in sides of the former's box."""
    (x0, y0, x1, y1), (a0, b0, a1, b1) = before.box, after.box
    side = max(x1 - x0, y1 - y0, 1.0)
    return ((x0 + x1 - a0 - a1) ** 2 + (y0 + y1 - b0 - b1) ** 2) ** 0.5 / 2 / side
