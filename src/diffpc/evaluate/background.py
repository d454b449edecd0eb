"""The colour of a portrait's background, measured from its pixels: no network, no opinion."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from diffpc.types import Image

COLOURS = ("black", "white", "grey", "blue", "green", "red", "brown")
"""Names that a background can have."""

PREFIX = "background_"
"""Attributes of prompts that are about the background begin with it: background_blue."""

TOP, BOTTOM, SIDE = 2 / 128, 48 / 128, 20 / 128
"""The upper corners: between these heights, from each border to SIDE of the width."""

DARK, BRIGHT = 40.0, 175.0
"""Mean of the channels, 0 to 255, below which all is black, and above which what has no hue is white."""


def background(image: Image) -> Float[np.ndarray, "7"]:
    """1 for the name in COLOURS of the median colour in the upper corners, 0 for the others."""
    height, width = image.shape[:2]
    rows = image[round(TOP * height) : round(BOTTOM * height)]
    edge = max(1, round(SIDE * width))
    corners = np.concatenate([rows[:, :edge].reshape(-1, 3), rows[:, -edge:].reshape(-1, 3)])
    red, green, blue = (float(value) for value in np.median(corners, axis=0))
    return np.array([float(name == _name(red, green, blue)) for name in COLOURS])


def _name(red: float, green: float, blue: float) -> str:
    light, spread = (red + green + blue) / 3, max(red, green, blue) - min(red, green, blue)
    if light < DARK:
        return "black"
    if spread < 0.16 * light + 6:
        return "white" if light > BRIGHT else "grey"
    if blue >= max(red, green):
        return "blue"
    if green >= red:
        return "green"
    return "red" if red > 1.6 * green else "brown"
