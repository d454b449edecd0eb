"""What the judges learn from: features of every photo's chips, once.

    python -m tools.judge.features --lfw DATA/lfw --folder runs/judge

Writes narrow.npy (N, D) float16, symmetric under mirroring, wide.npy (N, W) float16, tilt.npy (N,) degrees and
rows.json, the photos' paths below images/. Wants faces.npz of `find_faces` in the folder.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from diffpc.evaluate.gauge import WideFeatures, tilt, wide_template
from diffpc.faces.align import align
from diffpc.faces.gradients import GradientSettings, OrientedGradients, with_mirror
from diffpc.faces.judge_embedder import judge_template
from diffpc.images import read_image
from tools.judge.find_faces import load

NARROW = GradientSettings(size=96, orientations=12, cells=(6, 8, 12))
WIDE = GradientSettings(size=96, orientations=12, cells=(8, 12))
BATCH = 64


def chips(images: list[np.ndarray]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=Path("runs/judge"))
    options = parser.parse_args()
    faces = {image: face for image, face in load(options.folder / "faces.npz").items() if face}
    rows = sorted(faces)
    narrow, wide = OrientedGradients(NARROW), WideFeatures(WIDE)
    templates = judge_template(NARROW.size), wide_template(WIDE.size)
    found: list[list[np.ndarray]] = [[], [], []]
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        photos = [read_image(options.lfw / "images" / row) for row in part]
        close, far = (
            [align(photo, faces[row], template) for photo, row in zip(photos, part, strict=True)]
            for template in templates
        )
        found[0].append(with_mirror(narrow, chips([one.pixels for one in close])).half().numpy())
        found[1].append(wide(chips([one.pixels for one in far])).half().numpy())
        found[2].append(np.array([tilt(one.matrix) for one in far]))
        if start % (16 * BATCH) == 0:
            print(f"{start} of {len(rows)}", flush=True)
    for name, parts in zip(("narrow", "wide", "tilt"), found, strict=True):
        np.save(options.folder / f"{name}.npy", np.concatenate(parts))
    (options.folder / "rows.json").write_text(json.dumps(rows))


if __name__ == "__main__":
    main()
