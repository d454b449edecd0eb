"""What photos suffer in the wild, for training the light predictor: only changes that move no landmark."""

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

Picture = NDArray[np.uint8]


def spoil(picture: Picture, random: Generator) -> Picture:
    """A random few of the changes below; (R, R, 3) uint8 -> the same."""
    for change, chance in CHANGES:
        if random.random() < chance:
            picture = change(picture, random)
    return picture


def light(picture: Picture, random: Generator) -> Picture:
    """Gain per channel, offset and gamma."""
    gain = np.exp(random.normal(0, 0.2)) * np.exp(random.normal(0, 0.08, 3))
    offset, gamma = random.normal(0, 15), np.exp(random.normal(0, 0.25))
    levels = np.arange(256)[:, None] / 255
    table = np.clip(255 * gain * levels**gamma + offset, 0, 255).astype(np.uint8)
    return cv2.LUT(picture, table.reshape(1, 256, 3))


def side_light(picture: Picture, random: Generator) -> Picture:
    """One side lighter than the other."""
    side = picture.shape[0]
    angle, strength = random.uniform(0, 2 * np.pi), random.uniform(0.1, 0.6)
    axis = np.linspace(-1, 1, side, dtype=np.float32)
    ramp = 1 + strength * (np.cos(angle) * axis[None] + np.sin(angle) * axis[:, None])
    return np.clip(picture * ramp[..., None], 0, 255).astype(np.uint8)


def gray(picture: Picture, random: Generator) -> Picture:
    """Less colour, down to none."""
    mono = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    share = random.uniform(0.3, 1)
    return cv2.addWeighted(picture, 1 - share, mono, share, 0)


def blur(picture: Picture, random: Generator) -> Picture:
    return cv2.GaussianBlur(picture, (0, 0), random.uniform(0.4, 2.0))


def low_resolution(picture: Picture, random: Generator) -> Picture:
    side = picture.shape[0]
    small = max(16, int(side * random.uniform(0.25, 0.8)))
    return cv2.resize(cv2.resize(picture, (small, small), interpolation=cv2.INTER_AREA), (side, side))


def compress(picture: Picture, random: Generator) -> Picture:
    _, packed = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, int(random.integers(15, 80))])
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)


def noise(picture: Picture, random: Generator) -> Picture:
    grain = random.standard_normal(picture.shape, dtype=np.float32) * random.uniform(2, 14)
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def occlude(picture: Picture, random: Generator) -> Picture:
    """A box or an ellipse of one colour, or a piece of the picture itself, somewhere."""
    side = picture.shape[0]
    spoiled = picture.copy()
    width, height = (int(value) for value in random.uniform(0.12, 0.45, 2) * side)
    x, y = (int(random.integers(0, side - extent)) for extent in (width, height))
    if random.random() < 0.4:
        from_x, from_y = (int(random.integers(0, side - extent)) for extent in (width, height))
        spoiled[y : y + height, x : x + width] = picture[from_y : from_y + height, from_x : from_x + width]
        return spoiled
    colour = tuple(int(value) for value in random.integers(0, 256, 3))
    cv2.ellipse(spoiled, (x + width // 2, y + height // 2), (width // 2, height // 2), 0, 0, 360, colour, -1)
    return spoiled


def edge(picture: Picture, random: Generator) -> Picture:
    """Black beyond a border, as where a crop leaves its photo."""
    side = picture.shape[0]
    spoiled = picture.copy()
    width = int(random.uniform(0.02, 0.2) * side)
    turned = np.rot90(spoiled, int(random.integers(4)))  # a view: writes go to `spoiled`
    turned[:width] = 0
    return spoiled


CHANGES = (
    (light, 0.8),
    (side_light, 0.3),
    (gray, 0.2),
    (blur, 0.2),
    (low_resolution, 0.2),
    (occlude, 0.3),
    (edge, 0.15),
    (noise, 0.2),
    (compress, 0.3),
)
