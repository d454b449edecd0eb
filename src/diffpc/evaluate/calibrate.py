"""Official pairs of photos -> an embedder's calibration."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffpc.evaluate.verification import Calibration, Pair, calibrated, read_pairs, save_calibration
from diffpc.faces.detect import load_detector
from diffpc.faces.embed import embed_faces, load_embedder
from diffpc.images import read_image
from diffpc.types import Say


def calibrate(
    embedder: str, detector: str, photos: Path, lists: tuple[Path, Path], output: Path, say: Say
) -> Calibration:
    """Choose the threshold on one list of pairs and test it on the other.

    Args:
        embedder: a name of the table of embedders. One that compares raw distances is centred.
        detector: who finds the faces.
        photos: folder of PERSON/PERSON_0001.jpg.
        lists: pairsDevTrain.txt and pairsDevTest.txt, or lists like them of different persons.
        output: the JSON file to write.
        say: takes news.

    Raises:
        UsageError: for unknown names.
        InputError: for missing or broken files.
    """
    network, find = load_embedder(embedder), load_detector(detector)
    chosen, tested = (read_pairs(path) for path in lists)
    vectors: dict[str, np.ndarray] = {}
    names = sorted({photo for pair in (*chosen, *tested) for photo in _photos(pair)})
    for number, name in enumerate(names, 1):
        image = read_image(photos / name)
        if faces := find(image):
            vectors[name] = embed_faces(network, image, faces[:1])[0].cpu().numpy().astype(np.float64)
        if number % 200 == 0:
            say(f"{number} of {len(names)} photos looked at")
    found = calibrated(
        embedder, vectors, (chosen, lists[0].stem), (tested, lists[1].stem), network.metric.kind == "l2"
    )
    save_calibration(output, found)
    return found


def _photos(pair: Pair) -> tuple[str, str]:
    return pair.first, pair.second
