"""A task that trains in no time; run as a program it trains until it is killed or done."""

import sys
import time
from pathlib import Path

import torch
from torch import nn

from diffpc.train.loop import LoopSettings, Trainer

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
    """Regression of a random linear map, with noise that depends on the generator."""

    def __init__(self):
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 2))
        self.frozen = nn.Linear(2, 2).requires_grad_(False)

    def modules(self):
        return {"network": self.network, "frozen": self.frozen}

    def losses(self, batch, generator):
        inputs = torch.randn(batch, 3, generator=generator)
        wanted = inputs[:, :2] * 2 + 0.1 * torch.randn(batch, 2, generator=generator)
        total = (self.network(inputs) - wanted).square().mean()
        return {"total": total, "half": total / 2}


def main(folder, slow):
    trainer = Trainer(ToyTask(), SETTINGS, Path(folder))
    trainer.resume()
    sys.stdout.write(f"{trainer.images}\n")

    def report(_step):
        time.sleep(0.02 * slow)

    trainer.run(report)
    sys.stdout.write("done\n")


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
