"""What is known of a file that diffpc does not ship."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal, TypeAlias

Commercial = Literal["yes", "no", "unclear"]
"""Whether something may be used commercially; "unclear" where its publisher does not say."""

MAX_TEXT_BYTES = 16 * 2**20
MAX_BYTES = 12 * 2**30
"""Bounds of a file whose size is not known: a configuration or vocabulary, and anything else."""


@dataclass(frozen=True)
class File:
    """One file of an asset. What is not published, or was not to be read anywhere, is None."""

    place: str
    """Where it belongs, below the folder of models, with forward slashes."""
    size: int | None = None
    """Bytes."""
    sha256: str | None = None
    """64 hexadecimal digits."""
    source: str = ""
    """Its path in the repository or below the page; empty if that is its name."""

    @property
    def name(self) -> str:
        """Last part of its place."""
        return PurePosixPath(self.place).name

    @property
    def origin(self) -> str:
        """Its path at the source."""
        return self.source or self.name

    @property
    def limit(self) -> int:
        """No more bytes than this are accepted for it."""
        if self.size is not None:
            return self.size
        return MAX_TEXT_BYTES if self.name.endswith((".json", ".txt")) else MAX_BYTES


@dataclass(frozen=True)
class Hub:
    """A repository on huggingface.co."""

    repository: str
    """OWNER/NAME."""
    revision: str = "main"


@dataclass(frozen=True)
class Web:
    """A folder on a web server; files lie in it under their names."""

    address: str


@dataclass(frozen=True)
class Archive:
    """A zip on a web server; files lie anywhere in it under their names."""

    address: str
    size: int
    sha256: str


@dataclass(frozen=True)
class ByHand:
    """What a person has to fetch: behind a registration, or where no plain download is known."""

    page: str
    """Address where it begins."""
    steps: str
    """One sentence: what to do there, and then."""
    registration: bool = False
    """Whether the page wants an account and its terms accepted."""


Source: TypeAlias = Hub | Web | Archive | ByHand


@dataclass(frozen=True)
class Licence:
    """Under which terms something comes."""

    name: str
    commercial: Commercial
    why: str = ""
    """What `commercial` rests on, where the name does not say it."""


@dataclass(frozen=True)
class Asset:
    """Files that belong together, with what they are for and their terms."""

    name: str
    """As `diffpc assets` and the licence report call it."""
    purpose: str
    files: tuple[File, ...]
    source: Source
    licence: Licence
    read_by: str
    """The option, variable or setting that makes diffpc read it."""

    @property
    def known_size(self) -> int:
        """Bytes of the files whose size is known."""
        return sum(file.size or 0 for file in self.files)

    @property
    def size(self) -> int | None:
        """Bytes of all files; None if one of them is not known."""
        return None if any(file.size is None for file in self.files) else self.known_size

    @property
    def registration(self) -> bool:
        """Whether it is to be had only with an account."""
        return isinstance(self.source, ByHand) and self.source.registration
