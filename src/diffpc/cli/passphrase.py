"""Where the commands take a passphrase from: the environment, or whoever sits at the terminal."""

from __future__ import annotations

import os
import sys
from getpass import getpass
from pathlib import Path

from diffpc.errors import UsageError

ENVIRONMENT = "DIFFPC_PASSPHRASE"
"""A passphrase as an option would stay in the shell's history and be seen in the list of processes."""


def known_passphrase(path: Path) -> str | None:
    """Of an encrypted file; None if there is none to be had."""
    given = os.environ.get(ENVIRONMENT)
    return given or (getpass(f"Passphrase of {path}: ") if sys.stdin.isatty() else None)


def new_passphrase(path: Path) -> str:
    """For a file that is to be encrypted, typed twice.

    Raises:
        UsageError: if there is none to be had, or the second is another.
    """
    given = os.environ.get(ENVIRONMENT)
    if given:
        return given
    if not sys.stdin.isatty():
        raise UsageError(f"--encrypt needs a passphrase; set {ENVIRONMENT}, or run on a terminal")
    first = getpass(f"Passphrase for {path}: ")
    if getpass("The same again: ") != first:
        raise UsageError("the two passphrases differ; run the command again")
    return first
