"""`diffpc train`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, make_dataclass, replace
from pathlib import Path
from typing import Any, get_type_hints

from diffpc.cli.options import option, options_of, part
from diffpc.cli.output import hush, say_for
from diffpc.errors import UsageError
from diffpc.settings import AdapterSettings
from diffpc.train.recipe import RECIPES
from diffpc.train.settings import (
    CacheSettings,
    EngineSettings,
    IdentityLoss,
    LoopSettings,
    ObeySettings,
    PairSettings,
    Recipe,
    WishSettings,
)


def summary(recipe: Callable[[], Recipe]) -> str:
    """The first line of what is said of a recipe."""
    return (recipe.__doc__ or "").splitlines()[0]


PRESETS = "\n".join(f"  {name:<14}{summary(recipe)}" for name, recipe in RECIPES.items())

USAGE = f"""usage: diffpc train PRESET --data PHOTOS --output RUN [OPTIONS]

Train on photos of persons; run the same command again to go on after a stop.

presets:
{PRESETS}

`diffpc train PRESET --help` lists the options with the preset's values."""


METAVARS = {
    "data": ("PHOTOS", None),
    "output": ("RUN", None),
    "captions": ("FILE", None),
    "start_from": ("ADAPTER", "a new one"),
    "cache_folder": ("FOLDER", "in the output"),
    "critic": ("RUN", "none"),
    "stop_at": ("IMAGES", "at the end"),
}
"""How `--help` names values that may be left out, and what then stands for them."""

GROUPS = {
    "loop": LoopSettings,
    "adapter": AdapterSettings,
    "identity": IdentityLoss,
    "pairs": PairSettings,
    "cache": CacheSettings,
    "wishes": WishSettings,
    "obey": ObeySettings,
    "engine": EngineSettings,
}
"""Fields of the recipe that are options one by one."""


@dataclass(frozen=True)
class Options:
    """What the command takes beside GROUPS."""

    data: Path | None = None
    """Folder of PERSON/PHOTO.jpg, or of shards 00000.tar, 00001.tar ..."""
    output: Path | None = None
    """Where the run lives: checkpoints, cache, log, previews. The same folder goes on with the same run."""
    base: str = "tiny"
    """What is built on: an SDXL checkpoint, a model folder, tiny for the bundled model, or new for a base with
    random weights."""
    captions: Path | None = None
    """Captions of a folder of photos: .csv or .jsonl with "photo" and "caption"."""
    start_from: str | None = None
    """An adapter, or a model with one, to train further."""
    cache_folder: Path | None = None
    """Where to keep what is computed once per photo, so that several runs share it."""
    critic: Path | None = None
    """The run of a critic (tiny_critic), for tiny_obey."""
    stop_at: int | None = None
    """Stop after so many images; the run can go on later."""
    dry_run: bool = False
    """Print settings, sizes and estimated memory, and do nothing."""
    quiet: bool = False
    """No progress bar, no news."""
    debug: bool = False
    """Show the traceback of an unexpected error."""
    previews: int = 4
    """Rows in each picture of progress."""
    preview_images: int = 10_000
    """Images between pictures of progress; 0 draws none."""
    realism: float = 0.0
    """How much a decoder learns from a discriminator, in gradients of its other terms."""
    window: int | None = None
    """Side, in latents, of the windows that an autoencoder learns from; None takes whole pictures."""


def run(arguments: Sequence[str]) -> int:
    """Train."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] not in RECIPES:
        raise UsageError(f"unknown preset {arguments[0]!r}; choose one of: {', '.join(RECIPES)}")
    options, recipe = _parsed(RECIPES[arguments[0]](), arguments)
    if options.dry_run:
        return _dry_run(recipe)
    if options.data is None or options.output is None:
        missing = "--data" if options.data is None else "--output"
        raise UsageError(f"{missing} is missing; pass the photos' folder as --data and the run's as --output")
    if not options.debug:
        hush()
    from diffpc.train.run import Places, train

    places = Places(
        data=options.data,
        output=options.output,
        base=options.base,
        captions=options.captions,
        start_from=options.start_from,
        cache=options.cache_folder,
        critic=options.critic,
    )
    trainer = train(recipe, places, say_for(options.quiet), options.stop_at, progress=not options.quiet)
    if trainer.engine.main:
        print(
            f"{options.output}: {trainer.images} of {recipe.loop.images} images; take them along with: "
            f"diffpc export {options.output} OUTPUT"
        )
    trainer.engine.close()
    return 0


def _parsed(preset: Recipe, arguments: Sequence[str]) -> tuple[Options, Recipe]:
    """The options, and the preset with what they change."""
    import tyro

    groups = [
        (name, tyro.conf.FlagConversionOff[kind], field(default=getattr(preset, name, preset.model.adapter)))
        for name, kind in GROUPS.items()
    ]
    plain = [
        (name, get_type_hints(Options)[name], field(default=getattr(preset, name)))
        for name in ("previews", "preview_images", "realism", "window")
    ]
    places = [option(Options, name, *names) for name, names in METAVARS.items()]
    kind = make_dataclass("Train", [*places, *plain, *groups], bases=(Options,), frozen=True, kw_only=True)
    parsed = options_of(
        kind,
        f"diffpc train {arguments[0]}",
        arguments[1:],
        f"{summary(RECIPES[arguments[0]])} Run the same command again to go on after a stop.",
    )
    chosen: dict[str, Any] = {name: getattr(parsed, name) for name in (*GROUPS, *(one for one, *_ in plain))}
    model = replace(preset.model, adapter=chosen.pop("adapter"))
    return part(parsed, Options), replace(preset, model=model, **chosen)


def _dry_run(recipe: Recipe) -> int:
    from diffpc.train.plan import plan

    found = plan(recipe)
    print(json.dumps(found.recipe, indent=1))
    print("\n".join(found.lines()))
    return 0
