"""A prepared request -> portraits on disk: the work of `diffpc generate`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from diffpc.distilled import check_steps
from diffpc.errors import UsageError
from diffpc.eyes import Eyes, Likeness
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement, condition, posed
from diffpc.face3d.presets import EXPRESSIONS, preset
from diffpc.face3d.written import read_written
from diffpc.generate import stages
from diffpc.generate.choose import best, scores
from diffpc.generate.prepare import Job
from diffpc.generate.replay import recorded
from diffpc.generate.request import Request, drawn_seeds, output_paths
from diffpc.generate.session import Session, Sitter, found_in
from diffpc.generate.stages import Seen
from diffpc.images import write_png
from diffpc.libraries import check_compiler
from diffpc.loading import BUNDLED, chosen_device, chosen_dtype, model_place, native_size, schedule_of
from diffpc.memory import check_modes
from diffpc.pipeline import Clock, DiffPCPipeline, Identity, PortraitSet, PortraitSettings, check_settings
from diffpc.provenance import Provenance, png_metadata
from diffpc.settings import from_dict
from diffpc.types import FaceParams


@dataclass(frozen=True)
class Drawn:
    """One portrait on disk."""

    output: str
    seed: int
    similarity: float | None
    """Cosine of the face embeddings of portrait and reference; None: no face found in the portrait."""
    pose_error: float | None
    """Degrees."""
    expression_error: float | None
    """Root mean square of the expression coefficients' difference."""


@dataclass(frozen=True)
class Candidate:
    """One seed of --best-of."""

    seed: int
    similarity: float | None
    pose_error: float | None
    expression_error: float | None
    score: float | None
    """See `choose.scores`; None: no face found."""


@dataclass(frozen=True)
class Outcome:
    """What one request made."""

    portraits: tuple[Drawn, ...]
    tried: tuple[Candidate, ...]
    """Every seed that was drawn, with --best-of."""
    seconds: dict[str, float]
    """Wall time per stage, and in total with the imports."""
    settings: PortraitSettings
    model: str
    device: str
    dtype: str
    weights: dict[str, str]
    """Weight file -> sha256."""
    peak_memory_mib: dict[str, float]
    """The most memory in use: of the process, and of the GPU if one is used."""
    stages: str | None
    """Folder of the pictures of the stages."""


@dataclass(frozen=True)
class _Targets:
    """The other photos with the faces that are meant."""

    target: Seen | None
    expression: Seen | None


def generate(job: Job, progress: bool = False, session: Session | None = None) -> Outcome:
    """Draw and write the portraits of a request.

    One at a time: a portrait must not depend on how many others are drawn with it, not even in its last bit.

    Args:
        job: from `prepare.prepared`.
        progress: show bars on stderr, if that is a terminal.
        session: of earlier requests, whose model and people are used again.

    Raises:
        UsageError: for an unknown name, or a setting that the model cannot do.
        InputError: for a broken model, or a photo without the face that is meant.
    """
    clock = Clock()
    request, session = job.request, session or Session()
    check_early(job)
    with clock("load"):
        model = session.model(request)
        pipeline = model.pipeline
        pipeline.set_progress_bar_config(disable=None if progress else True, desc="portrait")
        settings = drawing(request, pipeline)
    with clock("identify"):
        sitter = session.sitter(job)
    with clock("detect"):
        targets = _find(job, pipeline)
    with clock("target"):
        params = wanted(job, targets, sitter.identity, pipeline, settings)
    tried = _draw(job, pipeline, sitter.identity, params, settings)
    found = [one.portraits[0].likeness for one in tried]
    drawn = [tried[at] for at in best(found, settings.count)] if request.best_of else tried
    device, dtype = str(chosen_device(request.device)), dtype_name(pipeline)
    outputs = output_paths(job.output, settings.count)
    with clock("write"):
        fast = pipeline.schedule.name if pipeline.schedule else None
        note = recorded(job, settings, device, dtype, fast)
        for path, result in zip(outputs, drawn, strict=True):
            portrait = result.portraits[0]
            provenance = Provenance(
                version("diffpc"), request.prompt or "", portrait.seed, note, model.weights
            )
            write_png(path, portrait.image, png_metadata(provenance))
        _write_stages(job, sitter, targets, pipeline, drawn)
    return Outcome(
        portraits=tuple(_entry(path, result) for path, result in zip(outputs, drawn, strict=True)),
        tried=_candidates(tried, found) if request.best_of else (),
        seconds=_summed(clock, tried, job.started),
        settings=settings,
        model=request.model or BUNDLED,
        device=device,
        dtype=dtype,
        weights=model.weights,
        peak_memory_mib=_peak_memory(device),
        stages=str(request.stages) if request.stages else None,
    )


def dtype_name(pipeline: DiffPCPipeline) -> str:
    """The networks' number type as `--dtype` has it."""
    return str(pipeline.unet.dtype).removeprefix("torch.")


def drawing(request: Request, pipeline: DiffPCPipeline) -> PortraitSettings:
    """The request's settings; what it leaves open is the model's choice.

    Raises:
        UsageError: if one is out of range.
    """
    settings = _asked(request, dict(pipeline.config["defaults"]))
    pipeline.check(settings)
    return replace(settings, size=settings.size or pipeline.default_size)


def wanted(
    job: Job, faces: _Targets, identity: Identity, pipeline: DiffPCPipeline, settings: PortraitSettings
) -> FaceParams:
    """(alpha_ref, beta_tgt, gamma_tgt) of Eq. 7 as the request has it.

    Pose: of the target, or in numbers, or the reference's. Expression: named, or of its photo, or by scores, or the
    target's, or the reference's.
    """
    eyes, request = pipeline.eyes, job.request
    target = eyes.params(faces.target.image, faces.target.face) if faces.target else None
    if job.detail.params:  # a record has them instead of a target
        target = read_written(job.detail.params, eyes.model, str(request.replay))
    pose, expression = target, target
    if request.pose:
        placement = Placement(*request.place) if request.place else None
        pose = posed(eyes.model, Angles(*request.pose), placement, settings.size or pipeline.default_size)
    other = _expression(job, faces.expression, eyes)
    return condition(identity.params, other or expression, pose)


def other_expression(job: Job, pipeline: DiffPCPipeline) -> FaceParams | None:
    """The expression that a request names or has a photo of; None: the target's.

    Raises:
        InputError: if the photo has no face.
    """
    return _expression(job, _find(job, pipeline).expression, pipeline.eyes)


def _expression(job: Job, seen: Seen | None, eyes: Eyes) -> FaceParams | None:
    if seen:
        return eyes.params(seen.image, seen.face)
    name, scores = job.request.expression, job.detail.scores
    if name:
        return preset(name, eyes.model)
    return eyes.model.expressed(scores) if scores else None


def check_early(job: Job) -> None:
    """Refuse what needs no weights: names, device, and the size where the model's folder tells it.

    Raises:
        UsageError: naming the value.
    """
    request = job.request
    name = request.expression
    if name and not job.expression and name not in EXPRESSIONS:
        raise UsageError(
            f"unknown expression {name!r}; choose one of: {', '.join(EXPRESSIONS)}; or give a photo's path"
        )
    device = chosen_device(request.device)
    chosen_dtype(request.dtype, device)
    if request.compile:
        check_compiler(device)
        if moved := sorted(set(request.memory) - {"tiling"}):
            raise UsageError(
                f"--compile and --memory {moved[0]} exclude each other: the one needs all networks in place as they "
                "are; leave one out"
            )
    check_modes(request.memory, device)
    schedule = schedule_of(request.base, request.changes)
    if schedule:
        usual = {"steps": schedule.usual, "guidance": schedule.guidance[0]}
        asked = _asked(request, usual)
        check_steps(schedule, asked.steps, asked.guidance)
    size = native_size(model_place(request.model or BUNDLED))
    if size and not request.base:
        check_settings(_asked(request, {}), size)


def _asked(request: Request, defaults: dict[str, Any]) -> PortraitSettings:
    names = ("steps", "guidance", "strength", "seed", "count", "size", "face_pass", "compile")
    given = {name: getattr(request, name) for name in names if getattr(request, name) is not None}
    return from_dict(PortraitSettings, {**defaults, **given}, "defaults")


def _find(job: Job, pipeline: DiffPCPipeline) -> _Targets:
    target, expression = job.target, job.expression
    return _Targets(
        found_in(target, job.request.target_face, "--target-face", pipeline) if target else None,
        found_in(expression, job.detail.expression_face or 0, "--expression", pipeline)
        if expression
        else None,
    )


def _draw(
    job: Job, pipeline: DiffPCPipeline, identity: Identity, params: FaceParams, settings: PortraitSettings
) -> list[PortraitSet]:
    prompt = job.request.prompt or ""
    seeds = range(settings.seed, settings.seed + drawn_seeds(job.request))
    # cuDNN may otherwise pick another algorithm in each run, and the same seed another picture.
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
        return [pipeline(identity, params, prompt, replace(settings, seed=seed, count=1)) for seed in seeds]


def _write_stages(
    job: Job, sitter: Sitter, faces: _Targets, pipeline: DiffPCPipeline, drawn: Sequence[PortraitSet]
) -> None:
    folder = job.request.stages
    if folder is None:
        return
    references, features = sitter.references, drawn[0].identity.features
    first = references[0] if references else None
    photo = None if job.request.pose else faces.target or first
    control = drawn[0].control
    pictures = {
        "aligned": features.aligned,
        "cut": features.cut,
        "mesh": stages.mesh(control, pipeline.eyes.model, photo.image if photo else None),
        "i_3d": control.picture(),
        "i_skin": control.skin_picture(),
        "strip": stages.strip(
            stages.around(first) if first else features.cut,
            control,
            [one.portraits[0].image for one in drawn],
        ),
    }
    seen = {"reference": first, "target": faces.target, "expression": faces.expression}
    seen |= {f"reference-{number}": one for number, one in enumerate(references) if number}
    pictures |= {name: stages.marked(one) for name, one in seen.items() if one}
    for name, picture in pictures.items():
        if picture is not None:
            write_png(folder / f"{name}.png", picture)


def _candidates(tried: Sequence[PortraitSet], found: Sequence[Likeness]) -> tuple[Candidate, ...]:
    return tuple(
        Candidate(one.portraits[0].seed, like.similarity, like.pose_error, like.expression_error, score)
        for one, like, score in zip(tried, found, scores(found), strict=True)
    )


def _entry(path: Path, result: PortraitSet) -> Drawn:
    portrait = result.portraits[0]
    likeness: Likeness = portrait.likeness
    return Drawn(
        str(path), portrait.seed, likeness.similarity, likeness.pose_error, likeness.expression_error
    )


def _summed(clock: Clock, drawn: Sequence[PortraitSet], started: float) -> dict[str, float]:
    seconds = dict(clock.seconds)
    write = seconds.pop("write")
    for result in drawn:
        for stage, value in result.seconds.items():
            seconds[stage] = seconds.get(stage, 0.0) + value
    seconds |= {"write": write, "total": time.perf_counter() - started}
    return {stage: round(value, 3) for stage, value in seconds.items()}


def _peak_memory(device: str) -> dict[str, float]:
    found: dict[str, float] = {}
    if sys.platform != "win32":
        import resource  # Unix only

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        found["process"] = most / (2**20 if sys.platform == "darwin" else 2**10)  # bytes there, KiB elsewhere
    if device.startswith("cuda"):
        found["cuda"] = torch.cuda.max_memory_allocated() / 2**20
    return {name: round(value, 1) for name, value in found.items()}
