"""The only plug-in code: a name leads to a factory that is imported when it is asked for."""

from collections.abc import Callable, Mapping
from importlib import import_module
from types import ModuleType
from typing import Any

from diffpc.errors import UsageError


def load(kind: str, name: str, table: Mapping[str, str]) -> Callable[..., Any]:
    """Return the factory registered under `name`.

    Args:
        kind: what is being chosen, for the error message ("face detector").
        name: a key of `table`.
        table: name -> "module:factory"; optional packages are imported inside the factory only.

    Raises:
        UsageError: if the name is unknown; the message lists the valid names.
    """
    if name not in table:
        raise UsageError(f"unknown {kind} {name!r}; choose one of: {', '.join(sorted(table))}")
    module, _, factory = table[name].partition(":")
    return getattr(import_module(module), factory)


def require(package: str, extra: str) -> ModuleType:
    """Import an optional package, or say which extra installs it.

    Raises:
        UsageError: if the package is not installed.
    """
    try:
        return import_module(package)
    except ImportError as error:
        raise UsageError(f"{package} is not installed; run: pip install 'diffpc[{extra}]'") from error
