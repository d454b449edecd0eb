"""Identity files from clients: bytes of a file that `diffpc identity create` wrote -> a person; nothing is written."""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.face3d.predict import photo_points
from diffpc.identity_file import MAX_BYTES, check_identity, decode_identity
from diffpc.portrait import Identity
from diffpc.sealed import is_sealed, unseal
from diffpc.serve.request import Mark

MAX_PASSPHRASE = 1024
"""Characters."""

REACH = 8.0
"""Sides of its photo beyond which a 3D face cannot lie: a wilder one would fill every pixel many times over."""

_ONE = threading.Lock()
"""A key takes up to 256 MiB to derive (see `sealed.COSTS`): one at a time."""


@dataclass(frozen=True)
class IdentityFile:
    """A file as it came; what is secret in it shows in no message."""

    name: str
    """What messages and the record call it: no folders."""
    data: bytes = field(repr=False)
    passphrase: str | None = field(default=None, repr=False)

    @property
    def mark(self) -> Mark:
        """Name and sha256."""
        return self.name, hashlib.sha256(self.data).hexdigest()

    @property
    def locked(self) -> bool:
        """Whether it needs a passphrase."""
        return is_sealed(self.data)


def unlocked(file: IdentityFile, eyes: Eyes) -> Identity:
    """The person of a file.

    Args:
        file: from a client: nothing in it is trusted.
        eyes: of the model that is to draw; they must see as those that made the file.

    Raises:
        UsageError: if it is encrypted and there is no passphrase, or this service cannot decrypt.
        InputError: if the passphrase is another, or the file is too large, damaged, of another kind, or was made
            with other networks.
    """
    if len(file.data) > MAX_BYTES:
        raise InputError(f"{file.name}: has more than {MAX_BYTES // 2**20} MiB, which no identity has")
    stored = decode_identity(_decrypted(file), file.name)
    check_identity(stored, eyes, Path(file.name))
    identity = stored.person.identity
    points = photo_points(identity.params, eyes.model) / identity.params.frame
    if not np.isfinite(points).all() or np.abs(points).max() > REACH:
        raise InputError(f"{file.name}: its 3D face lies far outside its photo; make the file again")
    return identity


def _decrypted(file: IdentityFile) -> bytes:
    if not file.locked:
        return file.data
    if not file.passphrase:
        raise UsageError(f"{file.name}: is encrypted; send its passphrase with it")
    with _ONE:
        return unseal(file.data, file.passphrase, file.name)
