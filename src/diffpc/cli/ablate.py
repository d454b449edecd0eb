"""`diffpc evaluate ablate`: it trains and evaluates, so it stands above both rooms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from diffpc.cli.evaluate_actions import parsed
from diffpc.cli.output import hush, say_for
from diffpc.errors import UsageError
from diffpc.evaluate.options import ScoreOptions
from diffpc.train.recipe import RECIPES

if TYPE_CHECKING:
    from diffpc.evaluate.ablation import Variant
    from diffpc.types import Say


@dataclass(frozen=True)
class AblateOptions:
    """Variants -> the paper's Tables 4 to 7."""

    manifest: Path
    """The benchmark that variants are scored on; its persons must not be in the training photos."""
    photos: Path
    """Folder that the manifest's paths start from."""
    data: Path
    """Training photos: a folder of PERSON/PHOTO.jpg, or of shards."""
    output: Path
    """A folder per variant, and ablations.md."""
    captions: Path | None = None
    """Captions of the training photos, .csv or .jsonl."""
    recipe: str = "tiny"
    """The training recipe that every variant changes in one respect."""
    base: str = "tiny"
    """The frozen base."""
    images: int | None = None
    """Training images per variant; by default the recipe's. A warm-up longer than a tenth of them becomes that."""
    batch: int | None = None
    """Images per optimiser step; by default the recipe's."""
    precision: Literal["float32", "bfloat16"] | None = None
    """Of products while training; by default the recipe's."""
    identity_weight: float = 0.1
    """lambda of Eq. 21, where a variant has the ID loss."""
    skin: bool = False
    """Tell every variant the reference's skin, as the bundled model is told it: that keeps the person in few images."""
    only: tuple[str, ...] = ()
    """Names of variants, instead of all."""
    judges: ScoreOptions = field(default_factory=ScoreOptions)
    quiet: bool = False
    """No news."""


def ablate(arguments: Sequence[str]) -> int:
    """`diffpc evaluate ablate`."""
    options = parsed(AblateOptions, "ablate", arguments)
    if options.recipe not in RECIPES:
        raise UsageError(f"unknown recipe {options.recipe!r}; choose one of: {', '.join(RECIPES)}")
    hush()
    from diffpc.evaluate.ablation import ablate as ablated
    from diffpc.evaluate.ablation import ablation_tables, variants
    from diffpc.evaluate.manifest import read_manifest
    from diffpc.files import atomic_write

    known = variants(RECIPES[options.recipe]().model.adapter, options.skin)
    unknown = [name for name in options.only if name not in known]
    if unknown:
        raise UsageError(f"unknown variant {unknown[0]!r}; choose of: {', '.join(known)}")
    chosen = [known[name] for name in options.only or known]
    benchmark = (read_manifest(options.manifest), options.photos)
    say = say_for(options.quiet)
    scores = ablated(chosen, _trainer(options, say), benchmark, options.output, options.judges, say)
    tables = ablation_tables(scores)
    with atomic_write(options.output / "ablations.md") as stream:
        stream.write(tables.encode())
    print(tables)
    return 0


def _trainer(options: AblateOptions, say: Say) -> Callable[[Variant, Path], Path]:
    from diffpc.train.export import export
    from diffpc.train.run import Places, train
    from diffpc.train.settings import ExportSettings

    recipe = RECIPES[options.recipe]()
    given = {"images": options.images, "batch": options.batch}
    loop = replace(recipe.loop, **{name: value for name, value in given.items() if value is not None})
    loop = replace(loop, warmup_images=min(loop.warmup_images, loop.images // 10))
    engine = replace(recipe.engine, precision=options.precision or recipe.engine.precision)

    def make(variant: Variant, folder: Path) -> Path:
        model = folder / "model"
        changed = replace(
            recipe,
            model=replace(recipe.model, adapter=variant.adapter),
            loop=loop,
            engine=engine,
            identity=replace(
                recipe.identity, weight=options.identity_weight if variant.identity_loss else 0.0
            ),
            pairs=replace(recipe.pairs, same_person_pairs=variant.same_person_pairs),
        )
        places = Places(
            options.data, folder / "run", options.base, options.captions, cache=options.output / "cache"
        )
        trained = train(changed, places, say, progress=False)
        if not model.exists() and trained.images >= loop.images:
            export(folder / "run", model, ExportSettings(), say)
        return model

    return make
