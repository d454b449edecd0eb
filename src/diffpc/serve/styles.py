"""Styles: sets of LoRA files that the operator offers by name, of which one at a time is drawn with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from diffpc.changes import Lora
from diffpc.errors import UsageError
from diffpc.external.digests import digest
from diffpc.loras import activate, adapter_names
from diffpc.pipeline import DiffPCPipeline
from diffpc.serve.request import Mark

_NAME = re.compile(r"\w[\w -]{0,39}")


def parsed_styles(texts: Iterable[str]) -> dict[str, tuple[Path, ...]]:
    """What `--style NAME=FILE[,FILE...]` says: name -> LoRA files, in the order given.

    Raises:
        UsageError: for a text of another form, a name that no page could show, or one given twice.
    """
    styles: dict[str, tuple[Path, ...]] = {}
    for text in texts:
        name, _, files = text.partition("=")
        paths = tuple(Path(file.strip()) for file in files.split(",") if file.strip())
        if not paths or not _NAME.fullmatch(name):
            raise UsageError(
                f"--style {text!r}: expected NAME=FILE[,FILE...] with a name of up to 40 letters, digits, spaces and -"
            )
        if name in styles:
            raise UsageError(f"--style {name}: is given twice; put its files in one, {name}=FILE,FILE")
        styles[name] = paths
    return styles


def idle_adapters(styles: Mapping[str, Sequence[Path]]) -> dict[str, Sequence[Path]]:
    """The styles' files by the prefix of their adapters' names, for `loading.load_pipeline`."""
    return {f"style_{number}": files for number, files in enumerate(styles.values())}


def marks_of(files: Iterable[Path]) -> tuple[Mark, ...]:
    """Names without folders, and sha256.

    Raises:
        InputError: if a file cannot be read.
    """
    return tuple((path.name, digest(path)) for path in files)


class Wardrobe:
    """The styles of a loaded pipeline."""

    def __init__(
        self, pipeline: DiffPCPipeline, loras: Sequence[Lora], styles: Mapping[str, Sequence[Path]]
    ) -> None:
        """Nothing is changed yet.

        Args:
            pipeline: loaded with these LoRAs and with `idle_adapters(styles)`.
            loras: drawn with where no style is asked for.
            styles: name -> LoRA files, drawn with instead.
        """
        self._pipeline = pipeline
        self._adapters: dict[str | None, list[str]] = {
            None: adapter_names("lora", [one.path for one in loras])
        }
        self._weights: dict[str | None, list[float]] = {None: [one.weight for one in loras]}
        for name, (prefix, files) in zip(styles, idle_adapters(styles).items(), strict=True):
            self._adapters[name] = adapter_names(prefix, files)

    def wear(self, style: str | None) -> None:
        """Draw with exactly the LoRAs of a style from now on; None: with the operator's own, or none."""
        if len(self._adapters) > 1:
            activate(self._pipeline, self._adapters[style], self._weights.get(style, ()))


def check_style(style: str | None, offered: Iterable[str]) -> None:
    """Refuse a style that the operator does not offer.

    Raises:
        UsageError: listing those that are.
    """
    if style is None or style in (names := list(offered)):
        return
    remedy = f"choose one of: {', '.join(names)}" if names else "this service offers none: leave style out"
    raise UsageError(f"unknown style {style[:60]!r}; {remedy}")
