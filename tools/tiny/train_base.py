"""Train the small model's base (text encoders and UNet) on cached latents; run again to resume.

python tools/tiny/train_base.py --data runs/tiny/data --folder runs/tiny/base --images 400000
"""

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from parts import empty_prompt, report_to, start_from

from diffpc.diffusion.backbone import build
from diffpc.presets import tiny
from diffpc.train import recipe
from diffpc.train.base import BaseData, BaseTask
from diffpc.train.loop import Trainer


def read_data(folder: Path, tokenizer: Path) -> BaseData:
    """What `encode_crops.py` and `caption_crops.py` wrote."""
    return BaseData(
        latents=torch.from_numpy(np.load(folder / "latents.npy")),
        captions=torch.from_numpy(np.load(folder / "captions.npy")),
        empty=empty_prompt(tokenizer),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--images", type=int, default=400_000)
    parser.add_argument("--stop-at", type=int)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--start-from", type=Path, help="a model folder whose weights to go on from")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    backbone = build(tiny().backbone)
    backbone.unet.to(memory_format=torch.channels_last)
    settings = replace(
        recipe.tiny().loop,
        images=arguments.images,
        batch=arguments.batch,
        learning_rate=arguments.learning_rate,
    )
    start_from(arguments.start_from, backbone.networks())
    task = BaseTask(backbone, read_data(arguments.data, arguments.tokenizer))
    trainer = Trainer(task, settings, arguments.folder)
    for message in trainer.resume():
        print(message)
    report_to(trainer, arguments.folder, arguments.stop_at)


if __name__ == "__main__":
    main()
