"""Captions by a vision model behind an OpenAI-compatible address (vLLM, llama.cpp, Ollama, OpenAI ...)."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import urllib3
from urllib3.exceptions import HTTPError

from diffpc.curate.caption import Said, Seen
from diffpc.curate.settings import CaptionSettings
from diffpc.errors import InputError, UsageError
from diffpc.files import atomic_write

KEY = "DIFFPC_CAPTION_KEY"
"""Environment variable with the endpoint's key, if it needs one: a key in a command's words would show in `ps`."""

RETRIES = 5
"""Further attempts where the endpoint is busy (429), fails (5xx) or is silent; the wait doubles from one second,
or is what the endpoint asks for."""

TIMEOUT = 120.0
"""Seconds for an answer."""

LONGEST = 4000
"""Characters kept of a caption."""

TOKENS = 300
"""Greatest length of an answer."""


class EndpointCaptioner:
    """See `caption.Captioner`. Every answer is kept under a hash of picture, model and instruction."""

    def __init__(self, settings: CaptionSettings, folder: Path, back_off: float = 1.0) -> None:
        if not settings.url.startswith(("http://", "https://")) or not settings.model:
            raise UsageError(
                "the endpoint captioner needs --captions.url http://HOST/v1 and --captions.model NAME"
            )
        self._settings, self._folder = settings, folder
        self._address = settings.url.rstrip("/") + "/chat/completions"
        self._key = os.environ.get(KEY, "")
        retry = urllib3.Retry(
            RETRIES,
            allowed_methods=None,
            redirect=False,  # a redirect would carry photo and key elsewhere
            backoff_factor=back_off,
            status_forcelist=(429, 500, 502, 503, 504),
            raise_on_status=False,
        )
        self._pool = urllib3.PoolManager(maxsize=settings.concurrency, retries=retry, timeout=TIMEOUT)

    def __call__(self, photos: Sequence[Seen]) -> list[Said]:
        """See `Captioner`.

        Raises:
            InputError: if not one photo of several could be described: the endpoint is at fault.
        """
        with ThreadPoolExecutor(self._settings.concurrency) as pool:
            said = list(pool.map(self._said, photos))
        if len(said) > 1 and all(one.fault for one in said):
            raise InputError(
                f"{self._address}: describes no photo ({said[0].fault}); mend it and run again to go on"
            )
        return said

    def _said(self, photo: Seen) -> Said:
        settings = self._settings
        question = f"{settings.model}\n{settings.instruction}\n{settings.count}\n".encode()
        digest = hashlib.sha256(question + photo.picture).hexdigest()
        kept = self._folder / "answers" / digest[:2] / f"{digest}.json"
        if kept.is_file():
            return Said(tuple(json.loads(kept.read_bytes())), costs={"kept_answers": 1})
        said = self._asked(photo)
        if not said.fault:
            with atomic_write(kept) as stream:
                stream.write(json.dumps(said.captions).encode())
        return said

    def _asked(self, photo: Seen) -> Said:
        costs = {"requests": 1}
        try:
            answer = self._pool.request(
                "POST", self._address, json=self._question(photo), headers=self._headers()
            )
        except HTTPError as error:
            return Said((), f"{type(error).__name__}: {str(error)[:200]}", costs)
        if answer.status != 200:
            return Said((), f"status {answer.status}: {answer.data[:200].decode(errors='replace')}", costs)
        try:
            found = json.loads(answer.data)
            texts = [" ".join(choice["message"]["content"].split())[:LONGEST] for choice in found["choices"]]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return Said((), f"no answer of a chat model ({type(error).__name__}: {error})", costs)
        captions = tuple(text for text in texts if text)
        return Said(captions, "" if captions else "an empty answer", {**costs, **_usage(found)})

    def _question(self, photo: Seen) -> Mapping[str, Any]:
        picture = "data:image/jpeg;base64," + base64.b64encode(photo.picture).decode()
        content = [
            {"type": "text", "text": self._settings.instruction},
            {"type": "image_url", "image_url": {"url": picture}},
        ]
        message = {"role": "user", "content": content}
        model, count = self._settings.model, self._settings.count
        return {
            "model": model,
            "messages": [message],
            "max_tokens": TOKENS,
            "n": count,
            "seed": self._settings.seed,
        }

    def _headers(self) -> Mapping[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}


def _usage(answer: Mapping[str, Any]) -> Mapping[str, int]:
    usage = answer.get("usage")
    names = ("prompt_tokens", "completion_tokens")
    return {
        name: usage[name] for name in names if isinstance(usage, dict) and isinstance(usage.get(name), int)
    }
