"""Bytes under a passphrase: AES-256-GCM with a key by scrypt, both of the `cryptography` package.

Layout: magic, log2 of scrypt's N in one byte, salt (16), nonce (12), ciphertext with its tag. The tag covers all
that stands before the ciphertext.
"""

from __future__ import annotations

import secrets

from diffpc.backends import require
from diffpc.errors import InputError, UsageError

MAGIC = b"diffpc sealed 1\n"

COST = 17
"""log2 of scrypt's N, with r = 8 and p = 1: 128 MiB and half a second for every guess (OWASP, 2023)."""

COSTS = range(14, 19)
"""What is accepted: less would be no protection, more would fill the memory."""

SALT, NONCE, TAG = 16, 12, 16
"""Bytes."""

_HEAD = len(MAGIC) + 1 + SALT + NONCE


def is_sealed(data: bytes) -> bool:
    """Whether `seal` made it, by its first bytes."""
    return data.startswith(MAGIC)


def seal(content: bytes, passphrase: str) -> bytes:
    """Encrypt; the same content gives other bytes every time.

    Raises:
        UsageError: if the passphrase is empty, or `cryptography` is not installed.
    """
    if not passphrase:
        raise UsageError("the passphrase is empty; choose one that nobody guesses")
    aead = require("cryptography.hazmat.primitives.ciphers.aead", "identity")
    salt, nonce = secrets.token_bytes(SALT), secrets.token_bytes(NONCE)
    head = MAGIC + bytes([COST]) + salt + nonce
    return head + aead.AESGCM(_key(passphrase, salt, COST)).encrypt(nonce, content, head)


def unseal(data: bytes, passphrase: str, name: str) -> bytes:
    """The content that was sealed.

    Args:
        data: what `seal` gave.
        passphrase: the same.
        name: what to call it in an error message.

    Raises:
        InputError: if the passphrase is another, or the data were changed or cut short.
        UsageError: if `cryptography` is not installed.
    """
    exceptions = require("cryptography.exceptions", "identity")
    aead = require("cryptography.hazmat.primitives.ciphers.aead", "identity")
    if len(data) < _HEAD + TAG or data[len(MAGIC)] not in COSTS:
        raise InputError(f"{name}: the encrypted file is damaged; copy it again")
    head, cost = data[:_HEAD], data[len(MAGIC)]
    salt, nonce = head[-SALT - NONCE : -NONCE], head[-NONCE:]
    try:
        return aead.AESGCM(_key(passphrase, salt, cost)).decrypt(nonce, data[_HEAD:], head)
    except exceptions.InvalidTag as error:
        raise InputError(
            f"{name}: cannot be decrypted; check the passphrase, or copy the file again"
        ) from error


def _key(passphrase: str, salt: bytes, cost: int) -> bytes:
    kdf = require("cryptography.hazmat.primitives.kdf.scrypt", "identity")
    return kdf.Scrypt(salt=salt, length=32, n=2**cost, r=8, p=1).derive(
        passphrase.encode("utf-8", "surrogatepass")
    )
