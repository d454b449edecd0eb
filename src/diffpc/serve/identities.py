"""Identities that clients made, held in memory for a while: biometric data, never written."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass

from diffpc.pipeline import Identity
from diffpc.serve.jobs import Busy, Unknown
from diffpc.serve.request import Limits


@dataclass(frozen=True)
class _Held:
    identity: Identity
    until: float
    """By `time.monotonic`."""


class Identities:
    """id -> identity; safe to use from any thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()

    def add(self, identity: Identity) -> str:
        """Hold an identity; return its id, which is not to be guessed.

        Raises:
            Busy: if too many are held.
        """
        with self._lock:
            self._forget()
            if len(self._held) >= self._limits.identities:
                soonest = min(held.until for held in self._held.values())
                wait = max(1, min(600, round(soonest - time.monotonic())))
                raise Busy(
                    f"{len(self._held)} identities are held, which is this service's limit; try again in {wait} s",
                    wait,
                )
            name = secrets.token_urlsafe(16)
            self._hold(name, identity)
            return name

    def get(self, name: str) -> Identity:
        """The identity of that id, held anew for its full time.

        Raises:
            Unknown: if there is none, or no longer.
        """
        with self._lock:
            self._forget()
            if name not in self._held:
                raise Unknown(
                    f"no identity {name[:40]!r}; it was never there, or its time is over: make it again"
                )
            identity = self._held[name].identity
            self._hold(name, identity)
            return identity

    def drop(self, name: str) -> None:
        """Forget an identity.

        Raises:
            Unknown: if there is none.
        """
        self.get(name)
        with self._lock:
            self._held.pop(name, None)

    def __len__(self) -> int:
        return len(self._held)

    def _hold(self, name: str, identity: Identity) -> None:
        self._held[name] = _Held(identity, time.monotonic() + self._limits.identity_seconds)

    def _forget(self) -> None:
        now = time.monotonic()
        self._held = {name: held for name, held in self._held.items() if held.until > now}
