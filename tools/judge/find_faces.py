"""Find the face of every photo that the judges learn from or are tested on, once.

    python -m tools.judge.find_faces --lfw DATA/lfw --output runs/judge/faces.npz

Run the same command again to go on after a stop.
"""

import argparse
from pathlib import Path

import numpy as np

from diffpc.faces.detect import load_detector
from diffpc.files import atomic_write
from diffpc.images import read_image
from diffpc.types import Face

PER_PERSON = 12
"""Training photos of one person at most: one has 530."""

SAVED_EVERY = 500
"""Photos between two saves."""


def wanted(lfw: Path) -> list[str]:
    """Photos below images/: all of the test persons, a few of each training person."""
    test = [photo for person in persons(lfw, "peopleDevTest") for photo in photos(lfw, person)]
    train = [photo for person in persons(lfw, "peopleDevTrain") for photo in photos(lfw, person)[:PER_PERSON]]
    return sorted(set(train + pair_photos(lfw, "pairsDevTrain"))) + test


def persons(lfw: Path, split: str) -> list[str]:
    """Names in a split file of the data set."""
    lines = (lfw / f"{split}.txt").read_text().splitlines()
    return [line.split("\t")[0] for line in lines if "\t" in line]


def photos(lfw: Path, person: str) -> list[str]:
    """Paths below images/ of one person."""
    return [f"{person}/{path.name}" for path in sorted((lfw / "images" / person).glob("*.jpg"))]


def pair_photos(lfw: Path, name: str) -> list[str]:
    """Photos that an official list of pairs names."""
    found: list[str] = []
    for line in (lfw / f"{name}.txt").read_text().splitlines():
        parts = line.split("\t")
        numbers = [part for part in parts if part.isdecimal()]
        names = [part for part in parts if not part.isdecimal()]
        if len(numbers) == 2:
            names = names * (2 // len(names))
            found += [f"{one}/{one}_{int(n):04d}.jpg" for one, n in zip(names, numbers, strict=True)]
    return found


def save(path: Path, faces: dict[str, Face | None]) -> None:
    blank = np.full((5, 2), np.nan)
    with atomic_write(path) as stream:
        np.savez(
            stream,
            image=np.array(list(faces)),
            box=np.array([one.box if one else (np.nan,) * 4 for one in faces.values()]),
            landmarks=np.array([one.landmarks if one else blank for one in faces.values()]),
        )


def load(path: Path) -> dict[str, Face | None]:
    """Path below images/ -> its largest face, None where none was found."""
    if not path.exists():
        return {}
    with np.load(path) as values:
        rows = zip(values["image"].tolist(), values["box"], values["landmarks"], strict=True)
        return {
            image: None if np.isnan(box[0]) else Face(tuple(box.tolist()), points, "eye_corners_nose", 1.0)
            for image, box, points in rows
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--output", type=Path, default=Path("runs/judge/faces.npz"))
    options = parser.parse_args()
    detector = load_detector("dlib")
    faces = load(options.output)
    left = [image for image in dict.fromkeys(wanted(options.lfw)) if image not in faces]
    for number, image in enumerate(left, 1):
        faces[image] = next(iter(detector(read_image(options.lfw / "images" / image))), None)
        if number % SAVED_EVERY == 0 or number == len(left):
            save(options.output, faces)
            print(
                f"{len(faces)} photos, {sum(one is None for one in faces.values())} without a face",
                flush=True,
            )


if __name__ == "__main__":
    main()
