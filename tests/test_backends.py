"""Names lead to factories, and wrong names to the right ones."""

import json

import pytest

from diffpc import backends
from diffpc.errors import UsageError

TABLE = {"json": "json:dumps", "broken": "no_such_module_here:make"}


def test_load_returns_the_factory() -> None:
    assert backends.load("writer", "json", TABLE) is json.dumps


def test_load_imports_only_what_is_asked_for() -> None:
    backends.load("writer", "json", TABLE)  # "broken" stands in the table and does no harm
    with pytest.raises(ModuleNotFoundError, match="no_such_module_here"):
        backends.load("writer", "broken", TABLE)


def test_unknown_name_lists_the_valid_ones() -> None:
    with pytest.raises(UsageError, match=r"unknown writer 'xml'; choose one of: broken, json"):
        backends.load("writer", "xml", TABLE)


def test_require_returns_the_module() -> None:
    assert backends.require("json", "extra") is json


def test_require_names_the_extra() -> None:
    with pytest.raises(UsageError, match=r"pip install 'diffpc\[insightface\]'"):
        backends.require("no_such_module_here", "insightface")
