"""Named expressions, as blendshape scores on a relaxed face."""

from __future__ import annotations

from collections.abc import Mapping

from diffpc.errors import UsageError
from diffpc.face3d.model import FaceModel
from diffpc.types import FaceParams


def _both(**scores: float) -> dict[str, float]:
    """Each score on both sides of the face."""
    return {f"{name}{side}": score for name, score in scores.items() for side in ("Left", "Right")}


EXPRESSIONS: dict[str, Mapping[str, float]] = {
    "neutral": {},
    "smile": _both(mouthSmile=0.9, eyeSquint=0.6),
    "laugh": {"jawOpen": 0.45, **_both(mouthSmile=1.0, mouthUpperUp=0.6, eyeSquint=0.8)},
    "open_mouth": {"jawOpen": 0.6},
    "surprise": {"jawOpen": 0.5, "browInnerUp": 1.2, **_both(browOuterUp=1.2, eyeWide=0.2, eyeBlink=0.0)},
    "frown": {**_both(browDown=0.9, mouthFrown=0.8, eyeSquint=0.6)},
    "raised_brows": {"browInnerUp": 1.2, **_both(browOuterUp=1.2)},
    "kiss": {"mouthPucker": 1.5},
    "wink": {"eyeBlinkLeft": 0.9},
    "eyes_closed": _both(eyeBlink=0.9),
}
"""name -> scores, 0 to 1, beyond 1 where the training photos are timid. Left is the person's left: the wink
closes the eye on the image's right.

With FLAME only neutral, open_mouth, wink and eyes_closed can be shown.
"""


def preset(name: str, model: FaceModel) -> FaceParams:
    """The model's mean face with a named expression: the `expression` of `predict.condition`.

    Raises:
        UsageError: if the name is unknown, or the model cannot show the expression.
    """
    if name not in EXPRESSIONS:
        raise UsageError(f"unknown expression {name!r}; choose one of: {', '.join(EXPRESSIONS)}")
    return model.expressed(EXPRESSIONS[name])
