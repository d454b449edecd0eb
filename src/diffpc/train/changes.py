"""What a resumed run must have in common with the one that began it."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from diffpc.errors import UsageError

FREE = {"loop.checkpoint_images", "loop.keep"}
"""Settings that may change under way."""


def refuse_changes(then: Mapping[str, Any], now: Mapping[str, Any], folder: Path) -> None:
    """Compare two nested settings.

    Raises:
        UsageError: if they differ in more than FREE; the message names what, with both values.
    """
    before, after = dict(flat(then)), dict(flat(now))
    free = set(FREE)
    if before.get("loop.schedule") == after.get("loop.schedule") == "constant":
        free.add("loop.images")  # the length of a run shapes only the cosine
    names = sorted((before.keys() | after.keys()) - free)
    changed = [
        f"{name} was {before.get(name)!r}, is {after.get(name)!r}"
        for name in names
        if before.get(name) != after.get(name)
    ]
    if changed:
        raise UsageError(
            f"{folder} was begun with other settings: {'; '.join(changed)}; go on with those, or begin in a "
            "new folder"
        )


def flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name -> value, as JSON would give it back."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, list(value) if isinstance(value, tuple) else value
