"""Calibrate an embedder on pairsDevTrain and test it on pairsDevTest, with the faces that `find_faces` found.

    python -m tools.judge.calibrate dlib --lfw DATA/lfw --output src/diffpc/assets/verification/dlib.json

The same as `diffpc evaluate calibrate`, without looking for the faces again.
"""

import argparse
from pathlib import Path

import numpy as np

from diffpc.evaluate.verification import calibrated, read_pairs, save_calibration
from diffpc.faces.embed import embed_faces, load_embedder
from diffpc.images import read_image
from tools.judge.find_faces import load


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("embedder")
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/judge"))
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    network, faces = load_embedder(options.embedder), load(options.folder / "faces.npz")
    chosen, tested = (read_pairs(options.lfw / f"pairsDev{part}.txt") for part in ("Train", "Test"))
    names = sorted({name for pair in (*chosen, *tested) for name in (pair.first, pair.second)})
    vectors: dict[str, np.ndarray] = {}
    for number, name in enumerate(names):
        face = faces.get(name)
        if face is not None:
            found = embed_faces(network, read_image(options.lfw / "images" / name), [face])
            vectors[name] = found[0].numpy().astype(np.float64)
        if number % 500 == 0:
            print(f"{number} of {len(names)}", flush=True)
    pairs = (chosen, "pairsDevTrain"), (tested, "pairsDevTest")
    result = calibrated(options.embedder, vectors, *pairs, network.metric.kind == "l2")
    save_calibration(options.output, result)
    print(result.tested)


if __name__ == "__main__":
    main()
