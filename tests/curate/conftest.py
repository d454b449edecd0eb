import io

import numpy as np
import pytest
from PIL import Image as PILImage

from diffpc.curate.record import Listed, Record
from diffpc.curate.settings import PhotoSettings
from diffpc.curate.tools import load_tools
from tests.train.people import encoded, portrait

SMALL = PhotoSettings(size=64, side=100, text="none", part=3)
"""For photos of 280 x 280 px."""


@pytest.fixture(scope="session")
def tools():
    return load_tools(SMALL)


@pytest.fixture
def record(astronaut):
    """A record of a decoded photo of 280 x 280 px."""
    image = portrait(astronaut, 2)
    return Record(Listed("ada/2.jpg", "ada", "", 0), encoded(image), image)


def different(astronaut, number):
    """A photo whose perceptual hash is its own: the background is drawn by the number."""
    image = portrait(astronaut, number)
    noise = np.random.default_rng(number).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    backdrop = np.array(PILImage.fromarray(noise).resize((280, 280), PILImage.Resampling.BICUBIC))
    mask = np.zeros((280, 280, 1), bool)
    mask[30:230, 40:240] = True
    return np.where(mask, image, backdrop)


def opened(content: bytes):
    return np.array(PILImage.open(io.BytesIO(content)))
