"""Ship a trained light predictor: checkpoint -> `src/diffpc/assets/light_predictor`, float16.

python -m tools.face3d.export_predictor --checkpoint runs/predictor/checkpoint.pt
"""

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from diffpc.face3d.light import load_light_model
from diffpc.face3d.light_predictor import PredictorSettings
from diffpc.weights import half, save_weights
from tools.face3d.train_predictor import Schedule, encoder_settings


def export(checkpoint: Path, folder: Path) -> Path:
    """Write the weights and their config; return the weight file."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)
    source = (
        f"trained by tools/face3d/train_predictor.py on {state['seen']} augmented crops of Labeled Faces "
        "in the Wild, persons of peopleDevTrain.txt; labels: MediaPipe's face landmarker (Apache-2.0)"
    )
    # Midway the pictures are smaller, and the weights know only their last size.
    resolution = Schedule().resolution(state["seen"] - 1)
    settings = PredictorSettings(encoder_settings(load_light_model()), resolution, source)
    return save_weights(folder, half(state["encoder"]), asdict(settings))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, default=Path("runs/predictor/checkpoint.pt"))
    parser.add_argument("--folder", type=Path, default=Path("src/diffpc/assets/light_predictor"))
    options = parser.parse_args()
    path = export(options.checkpoint, options.folder)
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
