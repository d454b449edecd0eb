"""`diffpc train`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from diffpc.cli.output import hush
from diffpc.errors import UsageError
from diffpc.settings import AdapterSettings
from diffpc.train.recipe import RECIPES
from diffpc.train.settings import (
    CacheSettings,
    EngineSettings,
    IdentityLoss,
    LoopSettings,
    PairSettings,
    Recipe,
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


@dataclass(frozen=True)
class Options:
    """What the command takes; the preset's values are the defaults."""

    data: Path | None
    """Folder of PERSON/PHOTO.jpg, or of shards 00000.tar, 00001.tar ..."""
    output: Path | None
    """Where the run lives: checkpoints, cache, log, previews. The same folder goes on with the same run."""
    base: str
    """What is built on: an SDXL checkpoint, a model folder, tiny for the bundled model, or new for a base with
    random weights."""
    captions: Path | None
    """Captions of a folder of photos: .csv or .jsonl with "photo" and "caption"."""
    start_from: Path | None
    """An adapter to train further, instead of a new one."""
    cache_folder: Path | None
    """Where to keep what is computed once per photo, so that several runs share it; None: in the output."""
    stop_at: int | None
    """Stop after so many images; the run can go on later."""
    dry_run: bool
    """Print settings, sizes and estimated memory, and do nothing."""
    quiet: bool
    """No progress bar, no news."""
    debug: bool
    """Show the traceback of an unexpected error."""
    previews: int
    """Rows in each picture of progress."""
    preview_images: int
    """Images between pictures of progress; 0 draws none."""
    window: int | None
    """Side, in latents, of the windows that an autoencoder learns from; None takes whole pictures."""
    loop: LoopSettings
    adapter: AdapterSettings
    identity: IdentityLoss
    pairs: PairSettings
    cache: CacheSettings
    engine: EngineSettings


def run(arguments: Sequence[str]) -> int:
    """Train."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] not in RECIPES:
        raise UsageError(f"unknown preset {arguments[0]!r}; choose one of: {', '.join(RECIPES)}")
    options = _parsed(RECIPES[arguments[0]](), arguments)
    recipe = _recipe(RECIPES[arguments[0]](), options)
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
    )
    trainer = train(recipe, places, _say(options.quiet), options.stop_at, progress=not options.quiet)
    if trainer.engine.main:
        print(f"{options.output}: {trainer.images} of {recipe.loop.images} images")
    return 0


def _parsed(recipe: Recipe, arguments: Sequence[str]) -> Options:
    import tyro

    default = Options(
        data=None,
        output=None,
        base="tiny",
        captions=None,
        start_from=None,
        cache_folder=None,
        stop_at=None,
        dry_run=False,
        quiet=False,
        debug=False,
        previews=recipe.previews,
        preview_images=recipe.preview_images,
        window=recipe.window,
        loop=recipe.loop,
        adapter=recipe.model.adapter,
        identity=recipe.identity,
        pairs=recipe.pairs,
        cache=recipe.cache,
        engine=recipe.engine,
    )
    return tyro.cli(
        Options,
        prog=f"diffpc train {arguments[0]}",
        description=f"{summary(RECIPES[arguments[0]])} Run the same command again to go on after a stop.",
        args=list(arguments[1:]),
        default=default,
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff),
    )


def _recipe(preset: Recipe, options: Options) -> Recipe:
    return replace(
        preset,
        model=replace(preset.model, adapter=options.adapter),
        loop=options.loop,
        identity=options.identity,
        pairs=options.pairs,
        cache=options.cache,
        engine=options.engine,
        previews=options.previews,
        preview_images=options.preview_images,
        window=options.window,
    )


def _dry_run(recipe: Recipe) -> int:
    from diffpc.train.plan import plan

    found = plan(recipe)
    print(json.dumps(found.recipe, indent=1))
    print("\n".join(found.lines()))
    return 0


def _say(quiet: bool) -> Callable[[str], None]:
    def say(line: str) -> None:
        if not quiet and os.environ.get("RANK", "0") == "0":  # torchrun's; the others know the same
            print(f"diffpc: {line}", file=sys.stderr)

    return say
