import pytest

from diffpc import sealed
from diffpc.errors import InputError, UsageError
from diffpc.sealed import MAGIC, NONCE, SALT, TAG, is_sealed, seal, unseal

HEAD = len(MAGIC) + 1 + SALT + NONCE


@pytest.fixture(autouse=True)
def cheap(monkeypatch):
    """The least cost that is accepted: 16 MiB and some milliseconds."""
    pytest.importorskip("cryptography")
    monkeypatch.setattr(sealed, "COST", sealed.COSTS[0])


def test_what_was_sealed_comes_back():
    data = seal(b"who it is", "a secret, \u00e9")
    assert is_sealed(data) and not is_sealed(b"who it is")
    assert b"who it is" not in data and len(data) == HEAD + len(b"who it is") + TAG
    assert unseal(data, "a secret, \u00e9", "me") == b"who it is"
    assert seal(b"who it is", "a secret, \u00e9") != data


def test_the_key_is_scrypts(monkeypatch):
    """An independent derivation by the standard library opens it."""
    import hashlib

    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    data = seal(b"content", "word")
    salt, nonce = data[len(MAGIC) + 1 : HEAD - NONCE], data[HEAD - NONCE : HEAD]
    key = hashlib.scrypt(b"word", salt=salt, n=2**14, r=8, p=1, dklen=32, maxmem=2**26)
    assert AESGCM(key).decrypt(nonce, data[HEAD:], data[:HEAD]) == b"content"


def test_another_passphrase_or_any_changed_byte_is_refused():
    data = seal(b"content", "word")
    with pytest.raises(InputError, match="me: cannot be decrypted; check the passphrase"):
        unseal(data, "sword", "me")
    for place in (len(MAGIC) + 1, HEAD - 1, HEAD, len(data) - 1):
        changed = bytearray(data)
        changed[place] ^= 1
        with pytest.raises(InputError, match="cannot be decrypted"):
            unseal(bytes(changed), "word", "me")
    for wrong in (data[: HEAD + TAG - 1], data[: len(MAGIC)] + bytes([31]) + data[len(MAGIC) + 1 :]):
        with pytest.raises(InputError, match="me: the encrypted file is damaged"):
            unseal(wrong, "word", "me")


def test_an_empty_passphrase_is_none():
    with pytest.raises(UsageError, match="the passphrase is empty"):
        seal(b"content", "")
