"""Draw a sheet of portraits of a model folder, to be looked at: persons x expressions and poses.

python tools/tiny/look.py --model FOLDER --references DIR_OR_FILES... --output sheet.png
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from diffpc.errors import DiffPCError
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import condition, posed
from diffpc.face3d.presets import preset
from diffpc.images import read_image, resize, write_png
from diffpc.loading import load_pipeline
from diffpc.pipeline import PortraitSettings

WANTED = (
    ("neutral", Angles(), "a portrait photo, grey background"),
    ("smile", Angles(25.0, 0.0, 0.0), "a portrait photo, smiling"),
    ("open_mouth", Angles(-25.0, 0.0, 0.0), "a portrait photo, a blue background"),
    ("surprise", Angles(0.0, 12.0, 15.0), "a portrait photo, a white background"),
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True)
    parser.add_argument("--references", type=Path, nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--guidance", type=float, default=1.0)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--strength", type=float, default=1.0)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pipeline = load_pipeline(arguments.model)
    pipeline.set_progress_bar_config(disable=True)
    settings = PortraitSettings(
        steps=arguments.steps, guidance=arguments.guidance, strength=arguments.strength
    )
    rows = []
    for file in arguments.references:
        photo = read_image(file)
        try:
            person = pipeline.identify([photo])
        except DiffPCError as error:
            print(error)
            continue
        row = [resize(photo, 128, 128)]
        for name, angles, prompt in WANTED:
            model = pipeline.eyes.model
            wanted = condition(person.params, preset(name, model), posed(model, angles, frame=(128, 128)))
            found = pipeline(person, wanted, prompt, settings)
            seen = found.control.skin_picture()
            row += [found.control.picture() if seen is None else seen, found.portraits[0].image]
            print(file.name, name, found.portraits[0].likeness)
        rows.append(np.concatenate(row, axis=1))
    write_png(arguments.output, np.concatenate(rows))


if __name__ == "__main__":
    main()
