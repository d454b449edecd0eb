"""Identities that clients made, held in memory for a while: biometric data, never written."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass

from diffpc.serve.jobs import Busy, Unknown
from diffpc.serve.request import Known, Limits


@dataclass(frozen=True)
class _Held:
    known: Known
    until: float
    """By `time.monotonic`."""


class Identities:
    """id -> person; safe to use from any thread."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._held: dict[str, _Held] = {}
        self._lock = threading.Lock()

    def add(self, known: Known) -> str:
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
            self._hold(name, known)
            return name

    def get(self, name: str) -> Known:
        """The person of that id, held anew for its full time.

        Raises:
            Unknown: if there is none, or no longer.
        """
        with self._lock:
            self._forget()
            if name not in self._held:
                raise Unknown(
                    f"no identity {name[:40]!r}; it was never there, or its time is over: make it again"
                )
            known = self._held[name].known
            self._hold(name, known)
            return known

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

    def _hold(self, name: str, known: Known) -> None:
        self._held[name] = _Held(known, time.monotonic() + self._limits.identity_seconds)

    def _forget(self) -> None:
        now = time.monotonic()
        self._held = {name: held for name, held in self._held.items() if held.until > now}
