"""Diff-PC itself as a system of the benchmark."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from importlib.metadata import version
from itertools import groupby
from pathlib import Path
from typing import Any

import torch

from diffpc.errors import InputError
from diffpc.evaluate.draw import Drawn, Photos
from diffpc.evaluate.manifest import Case
from diffpc.evaluate.options import ModelChoice
from diffpc.face3d.predict import condition
from diffpc.images import read_image
from diffpc.loading import chosen_device, load_chosen, weights_of
from diffpc.memory import SMALLER
from diffpc.pipeline import Clock, DiffPCPipeline, Identity, PortraitSettings
from diffpc.provenance import Provenance, png_metadata
from diffpc.settings import from_dict
from diffpc.types import FaceParams


class DiffPCSystem:
    """See `draw.System`. A person is identified once, a target is read once per person."""

    def __init__(self, choice: ModelChoice) -> None:
        self.choice = choice
        self.pipeline: DiffPCPipeline = load_chosen(choice)
        self.pipeline.set_progress_bar_config(disable=True)
        self.settings = _settings(choice, self.pipeline)
        self.weights = weights_of(choice)

    def describe(self) -> dict[str, Any]:
        """See `draw.System`."""
        settings = {
            name: value for name, value in asdict(self.settings).items() if name not in ("seed", "count")
        }
        return {
            "name": "diffpc",
            "version": version("diffpc"),
            "settings": settings | {"size": list(self.settings.size or ())},
            "faces": dict(self.pipeline.config["faces"]),
            "dtype": str(self.pipeline.unet.dtype).removeprefix("torch."),
            "device": chosen_device(self.choice.device).type,
            "weights": self.weights,
        } | self._changes()

    def _changes(self) -> dict[str, Any]:
        """What hashes do not say of a base that is changed; nothing where it is not, as older folders have it."""
        schedule, loras = self.pipeline.schedule, self.choice.changes.loras
        found = {
            "fast": schedule.name if schedule else None,
            "memory": sorted(mode for mode in self.choice.memory if mode in SMALLER),
            "loras": [[lora.path.name, lora.weight] for lora in loras],
        }
        return {name: value for name, value in found.items() if value}

    def draw(self, cases: Sequence[Case], photos: Photos) -> Iterator[Drawn]:
        """See `draw.System`."""
        clock = Clock()
        try:
            with clock("identify"):
                identity = self.pipeline.identify([read_image(photos.reference)], names=["the reference"])
        except InputError as error:
            yield from (Drawn(case, None, {}, str(error)) for case in cases)
            return
        for target, group in groupby(cases, key=lambda case: case.target):
            yield from self._of_target(list(group), photos.targets[target], identity, clock)

    def _of_target(
        self, cases: Sequence[Case], target: Path, identity: Identity, clock: Clock
    ) -> Iterator[Drawn]:
        try:
            with clock("target"):
                photo = read_image(target)
                found = self.pipeline.eyes.params(photo, self.pipeline.eyes.face(photo, None, "the target"))
        except InputError as error:
            yield from (Drawn(case, None, {}, str(error)) for case in cases)
            return
        wanted = condition(identity.params, found, found)
        for case in cases:
            once = dict(clock.seconds)
            clock.seconds.clear()
            yield self._portrait(case, identity, wanted, once)

    def _portrait(
        self, case: Case, identity: Identity, wanted: FaceParams, once: Mapping[str, float]
    ) -> Drawn:
        prompt = case.of.prompts[case.prompt].text
        settings = replace(self.settings, seed=case.of.seeds[case.seed])
        with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=True):
            made = self.pipeline(identity, wanted, prompt, settings)
        # What the pipeline measures of itself is no part of drawing.
        seconds = {name: value for name, value in made.seconds.items() if name != "measure"}
        note = Provenance(version("diffpc"), prompt, settings.seed, {"benchmark": case.name}, self.weights)
        return Drawn(case, made.portraits[0].image, {**once, **seconds}, metadata=png_metadata(note))


def _settings(choice: ModelChoice, pipeline: DiffPCPipeline) -> PortraitSettings:
    names = ("steps", "guidance", "strength")
    asked = {name: getattr(choice, name) for name in names if getattr(choice, name) is not None}
    settings = from_dict(PortraitSettings, {**dict(pipeline.config["defaults"]), **asked}, "defaults")
    pipeline.check(settings)
    return replace(settings, size=settings.size or pipeline.default_size)
