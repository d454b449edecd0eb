"""Sliders <-> a 3D face: where a face starts from, and what the sliders change of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from diffpc.errors import UsageError
from diffpc.face3d.model import FaceModel
from diffpc.face3d.pose import Angles, euler_degrees
from diffpc.face3d.predict import Placement, condition, photo_points, posed
from diffpc.framing import View, framed
from diffpc.settings import Framing
from diffpc.types import FaceParams


@dataclass(frozen=True)
class PoseSliders:
    """How the head is held and where it stands."""

    yaw: float = 0.0
    """Degrees; > 0 turns to the image's right."""
    pitch: float = 0.0
    """Degrees; > 0 looks up."""
    roll: float = 0.0
    """Degrees; > 0 tilts clockwise."""
    x: float = 0.5
    """Centre of the face, of the picture's width."""
    y: float = 0.55
    """Centre of the face, of the picture's height."""
    size: float = 0.65
    """Height of the face, of the picture's."""


@dataclass(frozen=True)
class ExpressionSliders:
    """What the face does; 0 is relaxed."""

    mouth: float = 0.0
    """0 closed to 1 open."""
    smile: float = 0.0
    """-1 corners down to 1 smiling."""
    brows: float = 0.0
    """-1 lowered to 1 raised."""
    eyes: float = 0.0
    """-1 closed to 1 wide."""


def _both(**scores: float) -> dict[str, float]:
    """Each score on both sides of the face."""
    return {f"{name}{side}": score for name, score in scores.items() for side in ("Left", "Right")}


POLES: dict[str, tuple[Mapping[str, float], Mapping[str, float]]] = {
    "mouth": ({}, {"jawOpen": 0.9}),
    "smile": (_both(mouthFrown=1.0), _both(mouthSmile=1.0)),
    "brows": (_both(browDown=1.0), {"browInnerUp": 1.2, **_both(browOuterUp=1.2)}),
    "eyes": (_both(eyeBlink=1.0), _both(eyeWide=0.6, eyeBlink=0.0)),
}
"""Slider -> blendshape scores at -1 and at 1; empty where it does not go that way."""

STEP = 0.05
"""Of the sliders of the expression."""

PLACE_STEP = 0.005
"""Of the sliders of place and size."""

LIMITS = {"yaw": 60.0, "pitch": 40.0, "roll": 45.0}
"""Degrees to either side: as far as a face of the training photos was turned."""


@dataclass(frozen=True)
class Start:
    """A face that the sliders change, and where they stand for it: there it stays as it is, exactly."""

    params: FaceParams
    pose: PoseSliders
    expression: ExpressionSliders


def started(params: FaceParams, model: FaceModel, size: tuple[int, int], framing: Framing) -> Start:
    """A face with the sliders' readings of it; `size` is the portrait's width and height in pixels."""
    view = framed(params, model, size, framing)
    return Start(params, pose_reading(params, model, view), expression_reading(params, model))


def controlled(
    identity: FaceParams,
    pose: Start,
    expression: Start,
    sliders: tuple[PoseSliders, ExpressionSliders],
    model: FaceModel,
) -> FaceParams:
    """(alpha_ref, beta_tgt, gamma_tgt) of Eq. 7: the person's face as the sliders have it.

    Sliders that stand where `pose` and `expression` put them change nothing; a moved pose slider replaces the
    pose by one in numbers, a moved expression slider adds to the expression.
    """
    beta = expressed(expression, sliders[1], model)
    gamma = pose.params if sliders[0] == pose.pose else posed_by(sliders[0], model)
    return condition(identity, beta, gamma)


def posed_by(sliders: PoseSliders, model: FaceModel, frame: tuple[int, int] = (1024, 1024)) -> FaceParams:
    """The pose in numbers, as `diffpc generate --pose --place` has it."""
    angles = Angles(sliders.yaw, sliders.pitch, sliders.roll)
    return posed(model, angles, Placement(sliders.x, sliders.y, sliders.size), frame)


def expressed(start: Start, sliders: ExpressionSliders, model: FaceModel) -> FaceParams:
    """`start` with what each moved slider adds to its expression."""
    if sliders == start.expression:
        return start.params
    beta = _beta(start.params)
    for name in shown(model):
        move = _pull(model, name, getattr(sliders, name)) - _pull(
            model, name, getattr(start.expression, name)
        )
        beta = beta + move
    return _with_beta(start.params, beta)


def shown(model: FaceModel) -> dict[str, tuple[float, float]]:
    """The expression sliders that the model can show, with their ranges."""
    ranges: dict[str, tuple[float, float]] = {}
    for name, poles in POLES.items():
        low, high = (bool(pole) and can_show(model, pole) for pole in poles)
        if low or high:
            ranges[name] = (-1.0 if low else 0.0, 1.0 if high else 0.0)
    return ranges


def expression_reading(params: FaceParams, model: FaceModel) -> ExpressionSliders:
    """Where the sliders stand for a face: its difference to a relaxed one, projected on each slider's way."""
    found: dict[str, float] = {}
    away = _beta(params) - _beta(model.expressed({}))
    for name, (low, high) in shown(model).items():
        # Of two ways the one that explains more; both can be asked for, as in a grimace.
        shares = [(side, _share(away, _pull(model, name, side))) for side in (low, high) if side]
        side, share = max(shares, key=lambda pair: pair[1])
        found[name] = _stepped(side * min(max(share, 0.0), 1.0), STEP)
    return ExpressionSliders(**found)


def pose_reading(params: FaceParams, model: FaceModel, view: View) -> PoseSliders:
    """Where the sliders stand for a face that is seen in a view of its frame."""
    angles = euler_degrees(params.rotation)
    points = photo_points(params, model)
    left, top, width, height = view
    x, y = ((points.min(axis=0) + points.max(axis=0)) / 2 - (left, top)) / (width, height)
    degrees = {
        name: float(round(min(max(getattr(angles, name), -limit), limit))) for name, limit in LIMITS.items()
    }
    tall = _height(params, model) / height
    places = {"x": float(x), "y": float(y), "size": tall}
    return PoseSliders(**degrees, **{name: _stepped(value, PLACE_STEP) for name, value in places.items()})


def place_ranges(framing: Framing) -> dict[str, tuple[float, float]]:
    """Least and greatest value of the sliders of place and size: what the model frames."""
    return {"x": framing.x, "y": framing.y, "size": framing.height}


def step_of(name: str) -> float:
    """The step of a slider."""
    if name in LIMITS:
        return 1.0
    return PLACE_STEP if name in ("x", "y", "size") else STEP


def within(sliders: PoseSliders, framing: Framing) -> PoseSliders:
    """The sliders moved into the ranges of the page."""
    limits = {name: (-limit, limit) for name, limit in LIMITS.items()} | place_ranges(framing)
    return PoseSliders(
        **{
            field.name: min(max(getattr(sliders, field.name), limits[field.name][0]), limits[field.name][1])
            for field in fields(PoseSliders)
        }
    )


def _height(params: FaceParams, model: FaceModel) -> float:
    """Height in the photo's pixels of the mean face seen frontally at the camera's scale."""
    mean = replace(model.expressed({}), camera=torch.tensor([float(params.camera[0]), 0.0, 0.0]))
    with torch.no_grad():
        rows = model.vertices(mean).projected[0, :, 1]
    crop = params.crop
    return float(rows.max() - rows.min()) * crop.resolution / 2 * crop.size / (crop.resolution - 1)


def can_show(model: FaceModel, scores: Mapping[str, float]) -> bool:
    """Whether a face model knows these blendshapes."""
    try:
        model.expressed(scores)
    except UsageError:
        return False
    return True


def _pull(model: FaceModel, name: str, value: float) -> Float[Tensor, " beta"]:
    """What a slider adds to a relaxed face."""
    pole = POLES[name][value > 0]
    if not value or not pole:
        return torch.zeros_like(_beta(model.expressed({})))
    return abs(value) * (_beta(model.expressed(pole)) - _beta(model.expressed({})))


def _share(away: Float[Tensor, " beta"], way: Float[Tensor, " beta"]) -> float:
    """How far one goes along the other."""
    return float(away @ way / (way @ way))


def _stepped(value: float, step: float) -> float:
    return round(round(value / step) * step, 4)


def _beta(params: FaceParams) -> Float[Tensor, " beta"]:
    return torch.cat([params.expression, params.eyelid, params.jaw])


def _with_beta(params: FaceParams, beta: Float[Tensor, " beta"]) -> FaceParams:
    sizes = [len(params.expression), len(params.eyelid), len(params.jaw)]
    expression, eyelid, jaw = beta.split(sizes)
    return replace(params, expression=expression, eyelid=eyelid, jaw=jaw)
