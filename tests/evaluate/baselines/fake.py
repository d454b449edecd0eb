"""A program that speaks the baselines' protocol and draws plain pictures; its settings make it misbehave."""

import sys
from pathlib import Path

import diffpc.evaluate.baselines.programs as programs

sys.path.insert(0, str(Path(programs.__file__).parent))

from PIL import Image
from protocol import Refused, serve


def load(settings):
    if settings.get("fault") == "load":
        raise RuntimeError("no weights here")
    print("a library's chatter")  # noqa: T201 - must not disturb the answers

    def draw(task):
        if settings.get("fault") == "crash":
            raise RuntimeError("out of memory")
        if settings.get("fault") == "silent":
            return
        if task["seed"] == settings.get("refuse"):
            raise Refused("no face found in the reference")
        Image.new("RGB", (32, 32), (task["seed"], 0, 0)).save(task["output"])

    return {"name": "fake", "settings": sorted(settings)}, draw


if __name__ == "__main__":
    serve(load)
