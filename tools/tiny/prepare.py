"""Cut the training crops of the small model from Labeled Faces in the Wild.

Two crops of every photo: the central one, and one that is mirrored, shifted and scaled at random, so that
the model sees faces at other places and sizes. Crops that show the black wedges of the dataset's alignment
are moved or left out. Writes `crops.npy` (N, 128, 128, 3) uint8 and `crops.json` (one row per crop).

    python tools/tiny/prepare.py --lfw DATA/lfw --output runs/tiny/data [--split peopleDevTrain]
"""

import argparse
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 128
CENTRAL = 176
PER_PERSON = 40
MAX_BLACK = 0.004
TRIES = 12


def persons(lfw: Path, split: str) -> list[str]:
    """Names of the persons in one part of the official split."""
    return [line.split("\t")[0] for line in (lfw / f"{split}.txt").read_text().splitlines()[1:]]


def black_share(crop: np.ndarray) -> float:
    """Share of exactly black pixels among those of the border, where the wedges are."""
    border = np.concatenate(
        [
            crop[:4].reshape(-1, 3),
            crop[-4:].reshape(-1, 3),
            crop[:, :4].reshape(-1, 3),
            crop[:, -4:].reshape(-1, 3),
        ]
    )
    return float((border.max(axis=1) <= 2).mean())


def cut(photo: Image.Image, box: tuple[float, float, float], mirrored: bool) -> np.ndarray:
    """The square (x, y of its corner, side) of the photo, resampled to SIDE x SIDE."""
    x, y, side = box
    crop = photo.resize((SIDE, SIDE), Image.Resampling.LANCZOS, box=(x, y, x + side, y + side))
    pixels = np.asarray(crop)
    return pixels[:, ::-1] if mirrored else pixels


def central_box() -> tuple[float, float, float]:
    """The customary central crop."""
    corner = (250 - CENTRAL) / 2
    return corner, corner, float(CENTRAL)


def random_box(draw: random.Random) -> tuple[float, float, float]:
    """A crop of another size at another place."""
    side = draw.uniform(148, 206)
    slack = (250 - side) / 2
    shift = min(slack, 16.0)
    return slack + draw.uniform(-shift, shift), slack + draw.uniform(-shift, shift), side


def crops_of(
    photo: Image.Image, draw: random.Random
) -> list[tuple[np.ndarray, tuple[float, float, float], bool]]:
    """Up to two crops of one photo that show no wedge."""
    found = []
    for mirrored, boxes in ((False, [central_box()]), (True, [random_box(draw) for _ in range(TRIES)])):
        if not mirrored:
            boxes = boxes + [random_box(draw) for _ in range(TRIES)]
        for box in boxes:
            pixels = cut(photo, box, mirrored)
            if black_share(pixels) <= MAX_BLACK:
                found.append((pixels, box, mirrored))
                break
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--split", default="peopleDevTrain")
    arguments = parser.parse_args()
    draw = random.Random(0)
    pixels, rows, left_out = [], [], Counter()
    for person in persons(arguments.lfw, arguments.split):
        files = sorted((arguments.lfw / "images" / person).glob("*.jpg"))
        left_out["over the cap per person"] += max(0, len(files) - PER_PERSON)
        for file in files[:PER_PERSON]:
            found = crops_of(Image.open(file).convert("RGB"), draw)
            left_out["black wedge"] += 2 - len(found)
            for crop, box, mirrored in found:
                pixels.append(crop)
                rows.append({"image": f"{person}/{file.name}", "box": box, "mirrored": mirrored})
    arguments.output.mkdir(parents=True, exist_ok=True)
    np.save(arguments.output / "crops.npy", np.stack(pixels))
    (arguments.output / "crops.json").write_text(json.dumps({"rows": rows, "left_out": left_out}))
    print(f"{len(rows)} crops of {len({row['image'] for row in rows})} photos; left out: {dict(left_out)}")


if __name__ == "__main__":
    main()
