"""What requests share: the model in memory, and the people who were identified."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

from diffpc.changes import ModelOptions
from diffpc.generate.prepare import Job, Photo
from diffpc.generate.request import Request
from diffpc.generate.stages import Seen
from diffpc.identity_file import is_encrypted, load_identity
from diffpc.loading import load_chosen, weights_of
from diffpc.pipeline import DiffPCPipeline
from diffpc.portrait import Identity
from diffpc.weights import sha256

Unlock = Callable[[Path], str | None]
"""The passphrase of an encrypted identity file; None if it is not to be had."""


@dataclass(frozen=True)
class Model:
    """A pipeline and what it was loaded from."""

    pipeline: DiffPCPipeline
    weights: dict[str, str]
    """Weight file -> sha256."""


@dataclass(frozen=True)
class Sitter:
    """A person who was identified."""

    identity: Identity
    references: tuple[Seen, ...]
    """The photos with the faces that are meant; none of an identity file."""


class Session:
    """Keeps the last model, and everyone whom it saw: a request of its own has a session of its own."""

    def __init__(self, unlock: Unlock = lambda _: None) -> None:
        self._unlock = unlock
        self._model: tuple[object, Model] | None = None
        self._sitters: dict[object, Sitter] = {}

    def model(self, request: Request) -> Model:
        """The model that a request names.

        Raises:
            UsageError: for an unknown name, device or type.
            InputError: for missing or broken files.
        """
        key = tuple(getattr(request, option.name) for option in fields(ModelOptions))
        if self._model is None or self._model[0] != key:
            self._model, self._sitters = None, {}  # two models at a time may be more than the memory holds
            self._model = key, Model(load_chosen(request), weights_of(request))
        return self._model[1]

    def sitter(self, job: Job) -> Sitter:
        """The person of a job, identified once.

        Raises:
            UsageError: if an identity file is encrypted and there is no passphrase.
            InputError: for a photo without the face that is meant, or a file that cannot be used.
        """
        pipeline, request = self.model(job.request).pipeline, job.request
        files = (request.identity,) if request.identity else request.reference
        key = (request.identity is None, tuple(sha256(path) for path in files), _faces(job))
        if key not in self._sitters:
            self._sitters[key] = self._identified(job, pipeline)
        return self._sitters[key]

    def _identified(self, job: Job, pipeline: DiffPCPipeline) -> Sitter:
        path = job.request.identity
        if path:
            passphrase = self._unlock(path) if is_encrypted(path) else None
            return Sitter(load_identity(path, pipeline.eyes, passphrase).identity, ())
        chosen = zip(job.references, _faces(job), strict=True)
        seen = tuple(found_in(one, face, "--face", pipeline) for one, face in chosen)
        return Sitter(pipeline.describe([one.image for one in seen], [one.face for one in seen]), seen)


def _faces(job: Job) -> tuple[int | None, ...]:
    """Which face of each reference."""
    return job.detail.faces or (job.request.face,) * len(job.references)


def found_in(photo: Photo, index: int | None, option: str, pipeline: DiffPCPipeline) -> Seen:
    """A photo with the face that is meant.

    Raises:
        InputError: if there is none, or several.
    """
    return Seen(photo.image, pipeline.eyes.face(photo.image, index, photo.label, option))
