"""What is known of a photo, before it is put into words: from a table of attributes and from own measures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from diffpc.types import Image

HAIR = {"blond_hair": ("blond hair", 0.4), "black_hair": ("black hair", 0.2), "gray_hair": ("grey hair", 0.6)}
"""Attribute -> what it is called, and the score above which it is believed: classifiers are timid about hair."""

BROWN_HAIR = 0.12
"""The same of brown hair, where no other colour is seen."""

WORN = {
    "eyeglasses": ("glasses", 0.5),
    "wearing_hat": ("a hat", 0.5),
    "wearing_necktie": ("a suit and tie", 0.55),
    "wearing_lipstick": ("lipstick", 0.5),
}

LACKING = {
    "eyeglasses": ("glasses", 0.0, 0.15),
    "wearing_hat": ("a hat", 0.0, 0.15),
    "no_beard": ("a beard", 0.85, 1.0),
}
"""Attribute -> what it is called, and the range of scores in which it surely is not there."""

EMOTIONS = {
    "happiness": "happiness",
    "happy": "happiness",
    "neutral": "neutral",
    "surprise": "surprise",
    "anger": "anger",
    "angry": "anger",
    "sadness": "sadness",
    "sad": "sadness",
    "fear": "fear",
    "disgust": "disgust",
}
"""What tables call an expression -> what it is called here: the paper's seven classes."""

YOUNG, OLD = 31, 46
"""Younger than the first is young, older than the second is old."""

SMILE, MOUTH_OPEN, EYES_CLOSED = 0.5, 0.35, 0.6
"""Own measures above which a face is said to smile, and so on. See docs/curate.md."""

TURNED, PROFILE, NODDED = 20.0, 45.0, 18.0
"""Degrees of yaw from which a head is turned aside, and seen in profile; of pitch from which it looks up or down."""


@dataclass(frozen=True)
class Traits:
    """What may be said; empty is not known."""

    gender: str = ""
    """man or woman."""
    age: str = ""
    """young, middle-aged or old."""
    looks: tuple[str, ...] = ()
    """Hair, beard, what is worn."""
    mood: str = ""
    """One of EMOTIONS' values, or smile."""
    details: tuple[str, ...] = ()
    """Of the expression: mouth_open, eyes_closed."""
    turn: str = ""
    """left, right, left_profile, right_profile (of the image), up or down."""
    background: str = ""
    """A colour."""
    lacks: tuple[str, ...] = ()
    """Of what is often worn, what surely is not."""


def traits_of(attributes: Mapping[str, str], measures: Mapping[str, float], picture: Image | None) -> Traits:
    """All that is known of a photo.

    Args:
        attributes: of a table, by column; scores in [0, 1] of CelebA's attributes, gender, age and expressions.
        measures: of a record.
        picture: whose upper corners show the background.
    """
    return Traits(
        gender=attributes.get("gender", "") if attributes.get("gender") in ("man", "woman") else "",
        age=_age(attributes),
        looks=looks_of(attributes),
        lacks=lacks_of(attributes),
        mood=_mood(attributes, measures),
        details=_details(measures),
        turn=_turn(measures),
        background=background_of(picture) if picture is not None else "",
    )


def emotion_of(attributes: Mapping[str, str]) -> str:
    """The expression that a table gives: what people saw before what a model saw; empty if none."""
    for column in ("expression_crowd", "expression_model", "expression"):
        if found := EMOTIONS.get(attributes.get(column, "")):
            return found
    return ""


def looks_of(attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Phrases for hair, beard and what is worn."""
    score = {name: _score(attributes, name) for name in (*HAIR, *WORN, "brown_hair", "bald", "mustache")}
    found = [word for name, (word, least) in HAIR.items() if score[name] > least][:1]
    if not found and score["brown_hair"] > BROWN_HAIR:
        found = ["brown hair"]
    if score["bald"] > 0.5:
        found = ["a bald head"]
    if _score(attributes, "no_beard", 1.0) < 0.4:
        found.append("a beard")
    elif score["mustache"] > 0.3:
        found.append("a mustache")
    return (*found, *(word for name, (word, least) in WORN.items() if score[name] > least))


def lacks_of(attributes: Mapping[str, str]) -> tuple[str, ...]:
    """Phrases for what is surely not worn."""
    return tuple(
        word
        for name, (word, low, high) in LACKING.items()
        if name in attributes and low <= _score(attributes, name, -1.0) <= high
    )


def background_of(picture: Image) -> str:
    """A colour word for the picture's upper corners, empty where they are mixed."""
    small = cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA)
    corners = np.concatenate([small[2:48, 2:20].reshape(-1, 3), small[2:48, -20:-2].reshape(-1, 3)]).astype(
        float
    )
    if corners.std(axis=0).mean() > 55:
        return ""
    red, green, blue = np.median(corners, axis=0).tolist()
    light, spread = (red + green + blue) / 3, max(red, green, blue) - min(red, green, blue)
    if light < 40:
        return "black"
    if spread < 0.16 * light + 6:
        return "white" if light > 175 else "grey"
    if blue >= max(red, green):
        return "blue"
    if green >= red:
        return "green"
    return "red" if red > 1.6 * green and light < 170 else "brown"


def _age(attributes: Mapping[str, str]) -> str:
    if "age" not in attributes:
        return ""
    age = _score(attributes, "age", -1.0)
    if age < YOUNG or _score(attributes, "young") > 0.8:
        return "young"
    return "old" if age > OLD else "middle-aged"


def _mood(attributes: Mapping[str, str], measures: Mapping[str, float]) -> str:
    """The crowd's word, else a smile that a classifier or the 3D face sees; a model's other words are not believed."""
    if found := EMOTIONS.get(attributes.get("expression_crowd", "")):
        return found
    if "smiling" in attributes:
        return "happiness" if _score(attributes, "smiling") > 0.7 else ""
    return "smile" if measures.get("smile", 0.0) > SMILE else ""


def _details(measures: Mapping[str, float]) -> tuple[str, ...]:
    limits = {"mouth_open": MOUTH_OPEN, "eyes_closed": EYES_CLOSED}
    return tuple(name for name, least in limits.items() if measures.get(name, 0.0) > least)


def _turn(measures: Mapping[str, float]) -> str:
    yaw, pitch = measures.get("yaw", 0.0), measures.get("pitch", 0.0)
    if abs(yaw) >= TURNED:
        return ("right" if yaw > 0 else "left") + ("_profile" if abs(yaw) >= PROFILE else "")
    return ("up" if pitch > 0 else "down") if abs(pitch) >= NODDED else ""


def _score(attributes: Mapping[str, str], name: str, default: float = 0.0) -> float:
    try:
        return float(attributes.get(name, default))
    except ValueError:
        return default
