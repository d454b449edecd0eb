"""Options of commands from settings that know nothing of the command line; the help comes from their docstrings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, fields, replace
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, Union, get_args, get_type_hints

if TYPE_CHECKING:
    from tyro.constructors import ConstructorRegistry

T = TypeVar("T")


def options_of(
    kind: type[T], prog: str, arguments: Sequence[str], description: str | None = None, *markers: Any
) -> T:
    """That dataclass from a command's options; `--help` and what is wrong end the process, as tyro has it.

    Args:
        kind: the dataclass.
        prog: the command, as `--help` calls it.
        arguments: what follows it.
        description: what it does; None: as the dataclass's docstring says.
        markers: more of `tyro.conf`.
    """
    import tyro

    return tyro.cli(
        kind,
        prog=prog,
        description=description,
        args=list(arguments),
        config=(tyro.conf.FlagCreatePairsOff, tyro.conf.HelptextFromCommentsOff, *markers),
        registry=_registry(),
    )


def _registry() -> ConstructorRegistry:
    """`--help` writes INT where a value may be left out, not {None}|INT; the word None is still understood."""
    from tyro.conf import DisallowNone
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def optional(info: PrimitiveTypeInfo) -> Any:
        if type(None) not in get_args(info.type) or DisallowNone in info.markers:
            return None
        found = ConstructorRegistry.get_primitive_spec(replace(info, markers=info.markers | {DisallowNone}))
        if not isinstance(found, PrimitiveConstructorSpec):
            return found

        def read(words: list[str]) -> Any:
            return None if words == ["None"] else found.instance_from_str(words)

        return replace(found, instance_from_str=read)

    return registry


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
