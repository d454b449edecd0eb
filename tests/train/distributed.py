"""One process of several that train the toy, in every way of sharing; the first writes the losses it was told."""

import json
import sys
from pathlib import Path

from diffpc.train.engine import Engine
from diffpc.train.loop import Trainer
from diffpc.train.settings import EngineSettings
from tests.train.toy import SETTINGS, ToyTask

WAYS = ("ddp", "fsdp")


def train(folder, parallel, stop_at):
    losses = []
    trainer = Trainer(ToyTask(), SETTINGS, folder, Engine(EngineSettings(parallel=parallel)))
    trainer.resume()
    trainer.run(lambda report: losses.append(report.terms["total"]), stop_at)
    if trainer.engine.main:
        (folder / "losses.json").write_text(json.dumps(losses))
    return trainer.engine


def main(folder, stop_at):
    engines = [train(folder / parallel, parallel, stop_at) for parallel in WAYS]
    engines[-1].close()  # the processes' one group, which all engines share


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
