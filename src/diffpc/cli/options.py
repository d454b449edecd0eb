"""Options of commands from settings that know nothing of the command line; the help comes from their docstrings."""

from __future__ import annotations

from dataclasses import field, fields
from typing import Annotated, Any, TypeVar, Union, get_type_hints

T = TypeVar("T")


def option(kind: type, name: str, metavar: str, hint: str | None = None) -> tuple[str, Any, Any]:
    """A field of that dataclass for `make_dataclass`, None where it is not given.

    Args:
        kind: the dataclass.
        name: of its field.
        metavar: how `--help` names the value.
        hint: what `--help` says stands in for a value that is not given.
    """
    import tyro

    described = tyro.conf.arg(metavar=metavar, help_behavior_hint=f"(default: {hint})" if hint else "")
    # None stands in front, or tyro imports a type checker to see it fit.
    annotated = Annotated[Union[None, get_type_hints(kind)[name]], described]  # noqa: UP007, RUF036
    return name, annotated, field(default=None)


def part(parsed: object, kind: type[T]) -> T:
    """That dataclass from what was parsed, with its own defaults for what was not given."""
    values = {entry.name: getattr(parsed, entry.name) for entry in fields(kind)}  # pyright: ignore[reportArgumentType] - a dataclass
    return kind(**{name: value for name, value in values.items() if value is not None})
