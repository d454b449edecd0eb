"""Draw README's contact sheet: two portraits in the public domain, each person as the same six wishes have them.

python -m tools.tiny.contact_sheet --output docs/pictures/contact-sheet.png
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import condition, posed
from diffpc.face3d.presets import preset
from diffpc.images import read_image, resize, write_png
from diffpc.loading import load_pipeline
from diffpc.pipeline import DiffPCPipeline, PortraitSettings
from diffpc.types import Image

PHOTOS = tuple(Path(__file__).parents[2] / "examples" / name for name in ("astronaut.jpg", "hopper.jpg"))
GAP = 4
"""White pixels between pictures."""


@dataclass(frozen=True)
class Wish:
    """A column of the sheet."""

    prompt: str
    expression: str = "neutral"
    angles: Angles = field(default_factory=Angles)


WISHES = (
    Wish("a portrait photo, a white background"),
    Wish("a portrait photo, a blue background", "smile", Angles(yaw=25.0)),
    Wish("a portrait photo, a black background", "open_mouth", Angles(yaw=-25.0)),
    Wish("a portrait photo of a person with glasses, a green background", "neutral", Angles(pitch=-8.0)),
    Wish("a portrait photo of a person with a hat, a grey background", "smile", Angles(roll=12.0)),
    Wish("a portrait photo of a person with grey hair, a red background", "raised_brows", Angles(yaw=12.0)),
)


def row(pipeline: DiffPCPipeline, photo: Image) -> list[Image]:
    """A person's head and portraits."""
    person, model = pipeline.identify([photo]), pipeline.eyes.model
    settings = PortraitSettings(seed=1)
    found = [head(pipeline, photo)]
    for wish in WISHES:
        pose = posed(model, wish.angles, frame=pipeline.default_size)
        wanted = condition(person.params, preset(wish.expression, model), pose)
        found.append(pipeline(person, wanted, wish.prompt, settings).portraits[0].image)
    return found


def head(pipeline: DiffPCPipeline, photo: Image) -> Image:
    """The photo around the face, as a square."""
    x0, y0, x1, y1 = pipeline.eyes.face(photo, None, "photo", "--face").box
    half, x, y = round(0.95 * (y1 - y0)), round((x0 + x1) / 2), round((y0 + y1) / 2)
    half = min(half, x, y, photo.shape[1] - x, photo.shape[0] - y)
    side = pipeline.default_size[0]
    return resize(photo[y - half : y + half, x - half : x + half], side, side)


def sheet(rows: list[list[Image]]) -> Image:
    """All pictures in a grid."""
    side = rows[0][1].shape[0]
    cell = side + GAP
    grid = np.full((cell * len(rows) + GAP, cell * len(rows[0]) + GAP, 3), 255, np.uint8)
    for down, pictures in enumerate(rows):
        for across, picture in enumerate(pictures):
            y, x = GAP + down * cell, GAP + across * cell
            grid[y : y + side, x : x + side] = picture
    return grid


def main() -> None:
    """Draw and write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    pipeline = load_pipeline(given.model)
    pipeline.set_progress_bar_config(disable=True)
    rows = [row(pipeline, read_image(path)) for path in PHOTOS]
    write_png(given.output, sheet(rows))


if __name__ == "__main__":
    main()
