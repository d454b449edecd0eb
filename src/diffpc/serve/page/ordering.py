"""What stands on the page -> what is asked of the service, in the words of the command line where it has them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from diffpc.errors import UsageError
from diffpc.face3d.model import FaceModel
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement
from diffpc.face3d.presets import EXPRESSIONS
from diffpc.serve import request as asked
from diffpc.serve.page.controls import POLES, ExpressionSliders, PoseSliders, can_show, expressed
from diffpc.serve.page.sitting import PHOTO, REFERENCE, REPLAYED, Look, Photo, Sitting
from diffpc.serve.request import Origin, PortraitRequest, Wish
from diffpc.types import FaceParams

TOLERANCE = 1e-5
"""Of scores: below what any portrait shows."""


def ordered(
    sitting: Sitting, sliders: tuple[PoseSliders, ExpressionSliders], look: Look, **settings: Any
) -> PortraitRequest:
    """The request for what the page shows.

    Args:
        sitting: the visitor's photos and choices.
        sliders: where they stand.
        look: the model's.
        settings: prompt, steps and the other plain fields of a request.

    Raises:
        UsageError: if there is no photo of a person.
    """
    if sitting.filed:
        settings |= {"identity": sitting.filed.identity, "origin": Origin(file=sitting.filed.mark)}
    elif not sitting.references:
        raise UsageError("There is no photo of a person yet. Drop one under “Who”.")
    references = tuple(_given(photo) for photo in sitting.references)
    return PortraitRequest(references=references, wish=wished(sitting, sliders, look), **settings)


def wished(sitting: Sitting, sliders: tuple[PoseSliders, ExpressionSliders], look: Look) -> Wish:
    """Pose and expression: photos and names where the sliders were left alone, numbers where they were moved.

    An expression that has neither names nor scores, nor a photo, makes the whole 3D face be given.
    """
    if sitting.pose.name == REPLAYED and sliders[0] == sitting.pose.start.pose:
        return Wish(params=sitting.params(sliders, look))
    source, pose = sitting.expression, _posed(sitting, sliders[0])
    if sliders[1] != source.start.expression:
        beta = expressed(source.start, sliders[1], look.eyes.model)
        scores = scores_of(beta, look.eyes.model)
        return replace(pose, scores=scores) if scores else Wish(params=sitting.params(sliders, look))
    if source.scores:
        return replace(pose, scores=source.scores)
    if source.name == REFERENCE and pose.target is None:
        return pose
    if source.photo is None:
        named = source.name in EXPRESSIONS
        return replace(pose, expression=source.name) if named else Wish(params=sitting.params(sliders, look))
    shared = pose.target is not None and pose.target.image is source.photo.image
    return pose if shared else replace(pose, expression=_given(source.photo))


def scores_of(params: FaceParams, model: FaceModel) -> dict[str, float]:
    """Blendshape scores that make this expression out of a relaxed face: the inverse of `model.expressed`.

    Returns:
        Empty if the model has no names for all of it.
    """
    relaxed, beta, found = _beta(model.expressed({})), _beta(params), dict[str, float]()
    for name in sorted(_names(model)):
        none, full = (_beta(model.expressed({name: score})) for score in (0.0, 1.0))
        one = int((full - none).abs().argmax())
        rest, score = (float((value[one] - none[one]) / (full[one] - none[one])) for value in (relaxed, beta))
        if abs(score - rest) > TOLERANCE:
            found[name] = round(score, 6)
    whole = torch.allclose(_beta(model.expressed(found)), beta, atol=10 * TOLERANCE)
    return found if whole else {}


def _names(model: FaceModel) -> set[str]:
    """The blendshapes that the model can show."""
    names = {name for poles in POLES.values() for pole in poles for name in pole}
    names |= {name for scores in EXPRESSIONS.values() for name in scores}
    return {
        name for name in {*names, *getattr(model, "expression_names", ())} if can_show(model, {name: 1.0})
    }


def _posed(sitting: Sitting, sliders: PoseSliders) -> Wish:
    source = sitting.pose
    if sliders == source.start.pose and source.name == REFERENCE:
        return Wish()
    if sliders == source.start.pose and source.name == PHOTO and source.photo is not None:
        return Wish(target=_given(source.photo))
    return Wish(
        pose=Angles(sliders.yaw, sliders.pitch, sliders.roll),
        place=Placement(sliders.x, sliders.y, sliders.size),
    )


def _given(photo: Photo) -> asked.Photo:
    return asked.Photo(photo.name, photo.image, photo.digest, photo.chosen)


def _beta(params: FaceParams) -> torch.Tensor:
    return torch.cat([params.expression, params.eyelid, params.jaw])
