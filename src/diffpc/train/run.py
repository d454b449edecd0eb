"""`diffpc train`: photos -> checkpoints, pictures of progress and a log, resumable by the same command."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from diffpc.images import write_png
from diffpc.libraries import quiet
from diffpc.photos import read_photos
from diffpc.train.build import build_pipeline, fit_scale, gather
from diffpc.train.cache import Crew
from diffpc.train.changes import refuse_changes
from diffpc.train.checkpoint import newest_settings
from diffpc.train.critic import load_critic
from diffpc.train.engine import Engine
from diffpc.train.loop import JsonLines, Report, Trainer, check_batch
from diffpc.train.memory import peak_memory
from diffpc.train.preview import PREVIEWS, averaged_weights, widened
from diffpc.train.settings import Recipe, Stage
from diffpc.train.stages import task
from diffpc.train.trackers import check_tracker, tracked
from diffpc.types import Say

OWN: dict[Stage, tuple[str, ...]] = {"obey": ("wishes", "obey"), "decoder": ("realism",)}
"""Settings that only one stage has."""


@dataclass(frozen=True)
class Places:
    """What is read and where the run lives."""

    data: Path
    """Folder of PERSON/PHOTO.jpg, or of shards; see `diffpc.photos`."""
    output: Path
    """Checkpoints, the cache, the log and pictures of progress."""
    base: str
    """The frozen base."""
    captions: Path | None = None
    """Captions of a folder of photos, .csv or .jsonl."""
    start_from: str | None = None
    """An adapter to go on from, by name or place, instead of an untrained one."""
    cache: Path | None = None
    """What is computed once per photo, for several runs to share; None keeps it in the output."""
    critic: Path | None = None
    """The run of a critic, for the stage that grades."""


def train(
    recipe: Recipe, places: Places, say: Say, stop_at: int | None = None, progress: bool = True
) -> Trainer:
    """Train the recipe's stage, from the last checkpoint if there is one.

    Args:
        recipe: how.
        places: on what, and where.
        say: takes news.
        stop_at: images after which to stop; the same call without it goes on.
        progress: whether to show a bar.

    Raises:
        UsageError: if settings changed since the run began, or do not fit.
        InputError: for photos, files or folders that cannot be used.
        DiffPCError: if the loss is not finite; the message names the photos.
    """
    engine = Engine(recipe.engine)  # first of all: it decides how many processes there are
    _check(recipe, places, engine)
    if engine.world > 1:
        say(f"{engine.world} processes share each batch of {recipe.loop.batch} images")
    photos = read_photos(places.data, places.captions, report=say)
    with quiet():
        pipeline = build_pipeline(recipe, places.base, places.start_from)
    crew = Crew(engine.rank, engine.world, engine.wait)
    material = gather(recipe, pipeline, photos, places.cache or places.output / "cache", crew, say)
    if places.critic is not None:
        material = replace(material, critic=load_critic(places.critic, say))
    if places.start_from is None:  # a trained adapter knows its scale
        fit_scale(pipeline, material.cache)
    lasting = _lasting(recipe, places) | {"photos": material.cache.folder.name}
    trainer = Trainer(task(recipe, pipeline, material), recipe.loop, places.output, engine, lasting)
    for message in [*getattr(trainer.samples, "messages", []), *trainer.resume()]:
        say(message)
    look = PREVIEWS.get(recipe.stage)
    with _reports(trainer, recipe, places.output, progress) as report:

        def after(step: Report) -> None:
            report(step)
            if look and trainer.due(recipe.preview_images) and trainer.engine.whole:
                with averaged_weights(trainer), widened(pipeline):
                    picture = look(pipeline, trainer.samples, recipe.previews)
                write_png(places.output / "previews" / f"{trainer.images:010d}.png", picture)

        trainer.run(after, stop_at)
    return trainer


def _check(recipe: Recipe, places: Places, engine: Engine) -> None:
    """Refuse at once what would be refused after the photos were looked at."""
    check_tracker(recipe.engine.tracker)
    check_batch(recipe.loop.batch, engine.world, recipe.engine.accumulation)
    then = newest_settings(places.output)
    if then is not None:
        now = {"loop": asdict(recipe.loop), **_lasting(recipe, places), "photos": then.get("photos")}
        refuse_changes(then, now, places.output)


def _lasting(recipe: Recipe, places: Places) -> dict[str, Any]:
    """What must not change on the way, beside the loop's settings, which the trainer knows."""
    parts = asdict(recipe)
    names = ("model", "stage", "cache", "identity", "pairs", "window", *OWN.get(recipe.stage, ()))
    kept = {name: parts[name] for name in names}
    return {
        **kept,
        "precision": recipe.engine.precision,
        "base": places.base,
        "start_from": places.start_from,
        **({} if places.critic is None else {"critic": str(places.critic)}),
    }


@contextmanager
def _reports(
    trainer: Trainer, recipe: Recipe, folder: Path, progress: bool
) -> Generator[Callable[[Report], None]]:
    """A progress bar, log.jsonl and a tracker, from the first process alone."""
    if not trainer.engine.main:
        yield lambda _: None
        return
    log = JsonLines(folder / "log.jsonl")
    total, seen = recipe.loop.images, trainer.images
    with (
        tracked(trainer.engine.accelerator, recipe.engine.tracker, folder, asdict(recipe)) as track,
        tqdm(total=total, initial=seen, unit="img", desc="train", mininterval=1, disable=not progress) as bar,
    ):

        def report(step: Report) -> None:
            log(step)
            track(step)
            bar.update(recipe.loop.batch)
            terms = {name: f"{value:.3f}" for name, value in step.terms.items()}
            bar.set_postfix(terms | {"memory": peak_memory(trainer.engine.device)}, refresh=False)

        yield report
