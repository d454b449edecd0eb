"""A task that trains in no time; run as a program it does so slowly, so that it can be killed."""

import sys
import time
from pathlib import Path

import torch
from torch import nn

from diffpc.train.loop import Trainer
from diffpc.train.positions import Drawn
from diffpc.train.settings import LoopSettings

SETTINGS = LoopSettings(
    images=160,
    batch=4,
    learning_rate=1e-2,
    schedule="cosine",
    warmup_images=20,
    betas=(0.8, 0.95),
    weight_decay=0.05,
    clip_norm=0.5,
    ema_images=40.0,
    checkpoint_images=16,
)


class ToyTask:
    """Regression of a linear map, with noise that depends on the position."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        self.fixed = nn.Linear(2, 2)

    def modules(self):
        return {"network": self.network}

    def frozen(self):
        return {"fixed": self.fixed}

    def samples(self, seed):
        return Drawn(seed, draw, lambda sample: f"number {sample['inputs'][0]:.3f}")

    def losses(self, batch):
        total = (self.network(batch["inputs"]) - batch["wanted"]).square().mean(1)
        return {"total": total, "half": total / 2}


def draw(generator):
    inputs = torch.randn(3, generator=generator)
    return {"inputs": inputs, "wanted": inputs[:2] * 2 + 0.1 * torch.randn(2, generator=generator)}


def main(folder):
    Trainer(ToyTask(), SETTINGS, Path(folder)).run(lambda _step: time.sleep(0.1))


if __name__ == "__main__":
    main(sys.argv[1])
