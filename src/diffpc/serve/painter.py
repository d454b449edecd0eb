"""Whoever draws: the seam between the queue and a pipeline, here or on other machines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from diffpc.changes import Changes, parsed_lora
from diffpc.diffusion.backbone import downscale
from diffpc.errors import DiffPCError, UsageError
from diffpc.eyes import Eyes
from diffpc.loading import (
    BUNDLED,
    chosen_device,
    load_eyes,
    load_pipeline,
    model_hashes,
    model_place,
    place_of,
    schedule_of,
)
from diffpc.memory import SMALLER
from diffpc.pipeline import DiffPCPipeline, Identity, PortraitSet, PortraitSettings
from diffpc.serve.batch import Sitter, draw_together
from diffpc.serve.detector import complete, isolated
from diffpc.serve.jobs import Result, Step
from diffpc.serve.note import Making, signed
from diffpc.serve.request import Cancelled, PortraitRequest, drawing
from diffpc.serve.safety import Safety, SafetySettings, load_safety
from diffpc.serve.styles import Wardrobe, check_style, idle_adapters, marks_of
from diffpc.serve.wanted import identity_of, wanted
from diffpc.types import FaceParams, Image

PREVIEW = 256
"""Longest side of a preview in pixels."""

Outcome = Sequence[Result] | DiffPCError
"""What came of one request."""


@dataclass(frozen=True)
class ModelSettings:
    """Which pipeline is served; see `loading.load_pipeline`."""

    model: str = BUNDLED
    """tiny (bundled), a folder, an adapter's file, or OWNER/NAME on the Hugging Face hub."""
    base: str | None = None
    """SDXL checkpoint (folder or .safetensors file) to use the model's adapter on."""
    unet: Path | None = None
    """UNet that takes the place of the base's."""
    vae: Path | None = None
    """VAE that takes the place of the base's."""
    lora: tuple[str, ...] = ()
    """LoRA files for the base, FILE or FILE=WEIGHT; drawn with unless a style is asked for."""
    fast: str | None = None
    """One of `distilled.SCHEDULES`; None: as the files' names say."""
    styles: Mapping[str, tuple[Path, ...]] = field(default_factory=dict[str, tuple[Path, ...]])
    """Style that clients may ask for -> LoRA files for the base."""
    device: str | None = None
    """cpu, cuda, cuda:N or mps."""
    dtype: str | None = None
    """float32, bfloat16 or float16."""
    memory: tuple[str, ...] = ()
    """Ways to draw with less; see `memory.placed`."""
    threads: int | None = None
    """Of the processor, for drawing."""
    safety: SafetySettings = field(default_factory=SafetySettings)

    @property
    def changes(self) -> Changes:
        """What of the base is replaced or changed.

        Raises:
            UsageError: for a LoRA's weight that is none.
        """
        loras = tuple(map(parsed_lora, self.lora))
        return Changes(self.unet, self.vae, loras, idle_adapters(self.styles), self.fast)


@runtime_checkable
class Watcher(Protocol):
    """Whoever waits for a group of requests."""

    def report(self, number: int, step: Step) -> None:
        """How far request `number` of the group is."""
        ...

    def stopped(self, number: int) -> bool:
        """Whether request `number` is no longer wanted."""
        ...


@runtime_checkable
class Painter(Protocol):
    """Draws what is asked."""

    @property
    def eyes(self) -> Eyes:
        """Looks at photos; safe to use from any thread."""
        ...

    @property
    def default_size(self) -> tuple[int, int]:
        """Width, height in pixels that the model was trained on."""
        ...

    @property
    def defaults(self) -> dict[str, Any]:
        """Fields of `PortraitSettings` that suit the model."""
        ...

    @property
    def making(self) -> Making:
        """What it draws with, and in which styles."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the operator should know, one sentence each."""
        ...

    def draw(self, group: Sequence[PortraitRequest], watcher: Watcher) -> list[Outcome]:
        """Draw a group of requests that `compatible` says fit together; one outcome for each."""
        ...

    def close(self) -> None:
        """Free what it holds."""
        ...


def compatible(first: PortraitRequest, other: PortraitRequest) -> bool:
    """Whether two requests can be drawn in one batch: single portraits with the same settings but the seed."""
    names = ("steps", "guidance", "strength", "size", "style")
    return (first.count or 1, other.count or 1) == (1, 1) and all(
        getattr(first, name) == getattr(other, name) for name in names
    )


class LocalPainter:
    """A pipeline in this process."""

    def __init__(self, settings: ModelSettings) -> None:
        if settings.threads:
            torch.set_num_threads(settings.threads)
        changes = settings.changes
        _check_styles(settings, changes)
        self._detector = isolated(load_eyes(settings.model).settings.detector)
        self.pipeline: DiffPCPipeline = load_pipeline(
            settings.model, settings.base, settings.device, settings.dtype, changes, settings.memory
        )
        self._wardrobe = Wardrobe(self.pipeline, changes.loras, settings.styles)
        self.pipeline.set_progress_bar_config(disable=True)
        self.making = Making(
            model=settings.model,
            base=settings.base,
            device=str(chosen_device(settings.device)),
            dtype=str(self.pipeline.unet.dtype).removeprefix("torch."),
            hashes=_hashes(settings),
            unet=changes.unet.name if changes.unet else None,
            vae=changes.vae.name if changes.vae else None,
            fast=self.pipeline.schedule.name if self.pipeline.schedule else None,
            memory=tuple(sorted(mode for mode in settings.memory if mode in SMALLER)),
            lora=marks_of(lora.path for lora in changes.loras),
            lora_weights=tuple(lora.weight for lora in changes.loras),
            styles={name: marks_of(files) for name, files in settings.styles.items()},
        )
        self._safety: Safety = load_safety(
            settings.safety, max(self.pipeline.default_size), chosen_device(settings.device)
        )
        complete(self.pipeline.eyes, self._detector)

    @property
    def eyes(self) -> Eyes:
        """See `Painter`."""
        return self.pipeline.eyes

    @property
    def default_size(self) -> tuple[int, int]:
        """See `Painter`."""
        return self.pipeline.default_size

    @property
    def defaults(self) -> dict[str, Any]:
        """See `Painter`."""
        return dict(self.pipeline.config["defaults"])

    @property
    def notes(self) -> Sequence[str]:
        """See `Painter`."""
        return self._safety.notes

    def close(self) -> None:
        """See `Painter`."""
        if self._detector is not None:
            self._detector.close()

    def draw(self, group: Sequence[PortraitRequest], watcher: Watcher) -> list[Outcome]:
        """See `Painter`. A request alone is drawn as `diffpc generate` does, bit for bit."""
        ready: dict[int, _Ready] = {}
        outcomes: dict[int, Outcome] = {}
        for number, request in enumerate(group):
            try:
                ready[number] = self._prepared(request)
            except DiffPCError as error:
                outcomes[number] = error
        try:
            # cuDNN may otherwise pick another algorithm in each run, and the same seed another picture.
            with torch.backends.cudnn.flags(
                enabled=True, benchmark=False, deterministic=True, allow_tf32=True
            ):
                drawn = self._drawn(ready, watcher)
        except Cancelled as error:
            self.pipeline.maybe_free_model_hooks()
            return [outcomes.get(number, error) for number in range(len(group))]
        for number, sets in drawn.items():
            outcomes[number] = [self._result(ready[number], one) for one in sets]
        return [outcomes[number] for number in range(len(group))]

    def _prepared(self, request: PortraitRequest) -> _Ready:
        check_style(request.style, self.making.styles)
        settings = drawing(request, self.defaults, self.default_size)
        self.pipeline.check(settings)
        identity = identity_of(request, self.eyes)
        size = settings.size or self.default_size
        return _Ready(request, identity, wanted(request.wish, identity, self.eyes, size), settings)

    def _drawn(self, ready: dict[int, _Ready], watcher: Watcher) -> dict[int, list[PortraitSet]]:
        if not ready:
            return {}
        (number, one), *others = ready.items()
        self._wardrobe.wear(one.request.style)  # the others' too: they would not be compatible else
        return self._together(ready, watcher) if others else {number: self._one_by_one(number, one, watcher)}

    def _one_by_one(self, number: int, one: _Ready, watcher: Watcher) -> list[PortraitSet]:
        """A portrait must not depend on how many others are drawn with it, not even in its last bit."""
        settings = one.settings
        sets: list[PortraitSet] = []
        for portrait in range(settings.count):

            def advance(done: int, estimate: Tensor, portrait: int = portrait) -> None:
                if watcher.stopped(number):
                    raise Cancelled("cancelled")
                preview = self._preview(estimate) if self._wants_preview(one, done) else None
                watcher.report(number, Step(portrait, settings.count, done, settings.steps, preview))

            single = replace(settings, seed=settings.seed + portrait, count=1)
            sets.append(self.pipeline(one.identity, one.params, one.request.prompt, single, advance))
        return sets

    def _together(self, ready: dict[int, _Ready], watcher: Watcher) -> dict[int, list[PortraitSet]]:
        numbers = list(ready)

        def advance(done: int, estimate: Tensor) -> None:
            if all(watcher.stopped(number) for number in numbers):
                raise Cancelled("cancelled")
            for place, number in enumerate(numbers):
                one = ready[number]
                preview = self._preview(estimate[place, None]) if self._wants_preview(one, done) else None
                watcher.report(number, Step(0, 1, done, one.settings.steps, preview))

        sitters = [
            Sitter(one.identity, one.params, one.request.prompt, one.settings.seed) for one in ready.values()
        ]
        drawn = draw_together(self.pipeline, sitters, ready[numbers[0]].settings, advance)
        return {number: [one] for number, one in zip(numbers, drawn, strict=True)}

    def _wants_preview(self, one: _Ready, done: int) -> bool:
        return one.request.previews and done < one.settings.steps

    def _preview(self, estimate: Tensor) -> Image:
        """The estimate's picture, small: averaged latents still show it, and cost a fraction."""
        factor = max(1, max(estimate.shape[-2:]) * downscale(self.pipeline.vae) // PREVIEW)
        return self.pipeline.decode(torch.nn.functional.avg_pool2d(estimate, factor))[0]

    def _result(self, ready: _Ready, drawn: PortraitSet) -> Result:
        portrait = drawn.portraits[0]
        given, withheld = self._safety(portrait.image)
        made = signed(given, portrait, ready.request, self.making)
        return Result(made.portrait, drawn, made.png, withheld)


@dataclass(frozen=True)
class _Ready:
    """A request whose photos were looked at."""

    request: PortraitRequest
    identity: Identity
    params: FaceParams
    settings: PortraitSettings


def _check_styles(settings: ModelSettings, changes: Changes) -> None:
    """A style takes the place of the operator's LoRAs: the base must draw in few steps without them.

    Raises:
        UsageError: if it does not.
    """
    if not (settings.styles and changes.loras and schedule_of(settings.base, changes)):
        return
    if schedule_of(settings.base, replace(changes, loras=(), fast=None)) is None:
        raise UsageError(
            "--style takes the place of --lora, which lets this model draw in few steps; pass distilled weights as "
            "--unet, or no --style"
        )


def _hashes(settings: ModelSettings) -> dict[str, str]:
    """As `diffpc generate` records them; LoRA files go by style."""
    base = place_of(settings.base) if settings.base else None
    return model_hashes(model_place(settings.model), base, replace(settings.changes, loras=()))


Make = Callable[[], Painter]
"""Loads a painter; may take long."""
