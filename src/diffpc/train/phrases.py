"""What captions say of a picture: phrases that a critic can learn to see, and a prompt can ask for or deny."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Group:
    """Phrases of which at most one is true of a picture."""

    phrases: tuple[str, ...]
    """Alternative wordings of one phrase are separated by bars."""
    personal: bool = True
    """Whether a portrait has it from the reference where the prompt is silent."""


GROUPS: tuple[Group, ...] = (
    Group(("man", "woman")),
    Group(("young", "middle-aged", "old|elderly")),
    Group(("blond hair", "black hair", "brown hair", "grey hair|gray hair", "bald head")),
    Group(("beard", "mustache")),
    Group(("glasses",)),
    Group(("hat",)),
    Group(("lipstick",)),
    Group(("suit and tie",), personal=False),
    Group(
        (
            "black background|darkness behind|dark background",
            "grey background|gray background|grey behind",
            "white background|white behind|bright background",
            "blue background|blue behind",
            "green background|green behind",
            "red background|red behind",
            "brown background|brown behind",
        ),
        personal=False,
    ),
)
"""What the small grammar says of looks and backgrounds (`diffpc.curate.grammar`); what a face does is the target's."""

SEX = slice(0, 2)
"""Man and woman: the first of all phrases."""

DENIALS = {"clean-shaven": "without a beard"}
"""Other words for not having something."""

EXCLUDED = -0.3
"""Blond hair is not black: that is meant too, but it is not what the prompt is about."""

_DENIED = re.compile(r"\bwithout ((?:(?:an? )?[\w-]+)(?:(?:,| or| and) (?:an? )?[\w-]+)*)")
"""without a hat or glasses."""


@dataclass(frozen=True)
class Phrases:
    """A table of groups, flat: P phrases."""

    groups: tuple[Group, ...] = GROUPS

    @property
    def names(self) -> tuple[str, ...]:
        """The first wording of each phrase."""
        return tuple(phrase.split("|")[0] for group in self.groups for phrase in group.phrases)

    @property
    def personal(self) -> Float[Tensor, " P"]:
        """1 where a silent prompt leaves a phrase to the reference."""
        return torch.tensor([float(group.personal) for group in self.groups for _ in group.phrases])

    def shown(self, captions: Sequence[str]) -> Float[Tensor, " P"]:
        """1 for what at least one caption of a picture says, else 0."""
        found = [self.asked(caption) for caption in captions]
        return torch.stack(found).amax(0).clamp(min=0) if found else torch.zeros(len(self.names))

    def asked(self, prompt: str) -> Float[Tensor, " P"]:
        """1 for what a prompt says, -1 for what it denies, `EXCLUDED` for what that excludes, 0 where it is silent."""
        return torch.tensor(_asked(self.groups, prompt))


@lru_cache(maxsize=1 << 17)
def _asked(groups: tuple[Group, ...], prompt: str) -> tuple[float, ...]:
    """See `Phrases.asked`; photos share captions, and prompts are read again and again."""
    text = prompt.lower()
    for words, plain in DENIALS.items():
        text = text.replace(words, plain)
    denied = " ".join(_DENIED.findall(text))
    said = _DENIED.sub(" ", text)
    values: list[float] = []
    for group in groups:
        found = [_names(phrase, said) for phrase in group.phrases]
        other = EXCLUDED if any(found) else 0.0
        values += [
            1.0 if own else -1.0 if _names(phrase, denied) else other
            for own, phrase in zip(found, group.phrases, strict=True)
        ]
    return tuple(values)


def _names(phrase: str, text: str) -> bool:
    """Whether a text has one of a phrase's wordings, in whole words."""
    return any(re.search(rf"\b{re.escape(wording)}\b", text) for wording in phrase.split("|"))
