"""`diffpc export`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from diffpc.cli.options import option, options_of, part
from diffpc.cli.output import Output, hush
from diffpc.train.settings import ExportSettings

if TYPE_CHECKING:
    from diffpc.train.export import Exported

METAVARS = {
    "checkpoint": "IMAGES",
    "precision": "float32|float16|bfloat16",
    "base": "SDXL",
    "start_from": "ADAPTER",
}
"""How `diffpc export --help` names the values."""

DEFAULTS = {
    "checkpoint": "the newest whole one",
    "precision": "float16",
    "base": "the run's",
    "start_from": "the run's",
}
"""What stands in for an option that is not given."""


@dataclass(frozen=True)
class Places:
    """From where to where."""

    run: Path
    """Folder of `diffpc train`."""
    output: Path
    """FILE.safetensors: the adapter alone, for `generate --model FILE --base SDXL`. Any other name: the folder of
    a whole model with its base, for `generate --model FOLDER`."""


def run(arguments: Sequence[str]) -> int:
    """Write what a run trained."""
    places, settings, output = _parsed(arguments)
    if not output.debug:
        hush()
    from diffpc.train.export import export

    notes: list[str] = []
    _print_outcome(export(places.run, places.output, settings, notes.append), notes, output)
    return 0


def _parsed(arguments: Sequence[str]) -> tuple[Places, ExportSettings, Output]:
    import tyro

    named = {name: tyro.conf.arg(metavar=name.upper()) for name in ("run", "output")}
    positions = [(name, tyro.conf.Positional[Annotated[Path, arg]], field()) for name, arg in named.items()]
    options = [option(ExportSettings, name, METAVARS[name], DEFAULTS[name]) for name in METAVARS]
    bases = (ExportSettings, Output, Places)
    kind = make_dataclass("Export", [*positions, *options], bases=bases, frozen=True, kw_only=True)
    parsed = options_of(
        kind, "diffpc export", arguments, "Make an adapter's file, or a whole model, of a training run."
    )
    return part(parsed, Places), part(parsed, ExportSettings), part(parsed, Output)


def _print_outcome(exported: Exported, notes: Sequence[str], output: Output) -> None:
    if output.json:
        print(json.dumps({**asdict(exported), "notes": list(notes)}))
        return
    for note in [] if output.quiet else notes:
        print(f"diffpc: note: {note}", file=sys.stderr)
    kind = "averaged" if exported.averaged else "raw"
    print(
        f"{exported.output}: {exported.size / 2**20:.1f} MiB, {kind} weights after {exported.images} images, "
        f"{exported.precision}"
    )
