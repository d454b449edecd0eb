"""Pairs of photos as training samples: the target is drawn from noise, the reference says who it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset
from transformers import CLIPTokenizer

from diffpc.diffusion.backbone import token_ids
from diffpc.errors import InputError, UsageError
from diffpc.face3d.model import FaceModel
from diffpc.face3d.skin import dressed
from diffpc.photos import Photo, paired
from diffpc.train.cache import Cache, CachedPhoto
from diffpc.train.positions import generator_at
from diffpc.train.settings import PairSettings


@dataclass(frozen=True)
class _Draws:
    """The choices of one sample."""

    target: Photo
    reference: Photo
    caption: str
    timestep: int
    kept_global: bool
    kept_local: bool
    kept_skin: bool
    own_skin: bool
    kept_adapter: bool


class PairDataset(Dataset[dict[str, Tensor]]):
    """An endless sequence of pairs; sample and position belong together whoever asks, and in whatever order.

    See `diffpc.train.positions.Samples`. A sample holds, as the cache has them, z_0, z_3d, face and landmarks of
    the target, vector and patches (or else crop, in [-1, 1]) of the reference; tokens and tokens_2, timestep, noise,
    kept_global, kept_local and kept_adapter; and index and reference, the rows of both in the cache. With a face
    model also i_skin, the reference's skin on the target's face in [-1, 1], and kept_skin.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        cache: Cache,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        settings: PairSettings | None = None,
        seed: int = 0,
        model: FaceModel | None = None,
    ) -> None:
        """Choose the photos: those in the cache, and with same-person pairs those with another of the person.

        Args:
            photos: with persons and captions; those that the cache refused are passed over.
            cache: built of these photos, or of more.
            tokenizers: of both text encoders.
            settings: which pairs.
            seed: of every random choice.
            model: the cache's face model, for networks that are told the reference's skin.

        Raises:
            UsageError: if a setting is out of range, or the cache lacks the photos' skin.
            InputError: if there is no photo or no pair.
        """
        self.cache, self.tokenizers = cache, tokenizers
        self.settings, self.seed, self.model = settings or PairSettings(), seed, model
        _check(self.settings)
        if model is not None and "skin" not in cache.names:
            raise UsageError(f"{cache.folder}: holds no skin; build it with --cache.skin true")
        known = [photo for photo in photos if photo.key in cache.rows]
        if not known:
            raise InputError(
                f"{cache.folder}: holds none of the {len(photos)} photos; build the cache of them"
            )
        self.messages: list[str] = []
        """What was left out."""
        if self.settings.same_person_pairs:
            known, self.messages = paired(known)
        groups: dict[str, list[Photo]] = {}
        for photo in known:
            groups.setdefault(photo.person, []).append(photo)
        self.persons = [_first(group, self.settings.per_person) for group in groups.values()]
        """Photos in use, by person."""
        self._photos = [(person, one) for person, own in enumerate(self.persons) for one in range(len(own))]

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The sample at a position from 0 on."""
        generator = generator_at(self.seed, position)
        draws = self._draw(generator)
        index, row = (self.cache.rows[photo.key] for photo in (draws.target, draws.reference))
        target, reference = self.cache[index], self.cache[row]
        tokens, tokens_2 = (token_ids([draws.caption], tokenizer)[0] for tokenizer in self.tokenizers)
        return {
            "z_0": target.latent,
            "z_3d": target.z_3d,
            "face": target.face,
            "landmarks": target.landmarks,
            "vector": reference.vector,
            **local_of(reference),
            "tokens": tokens,
            "tokens_2": tokens_2,
            "timestep": torch.tensor(draws.timestep),
            "noise": torch.randn(target.latent.shape, generator=generator),
            "kept_global": torch.tensor(draws.kept_global),
            "kept_local": torch.tensor(draws.kept_local),
            "kept_adapter": torch.tensor(draws.kept_adapter),
            **({} if self.model is None else self._skin(reference, target, draws, generator)),
            "index": torch.tensor(index),
            "reference": torch.tensor(row),
        }

    def _skin(
        self, reference: CachedPhoto, target: CachedPhoto, draws: _Draws, generator: torch.Generator
    ) -> dict[str, Tensor]:
        """I_skin of the pair; not drawn where it is dropped."""
        size = target.params().frame[0]
        picture = torch.zeros(3, size, size)
        if draws.kept_skin and self.model is not None:
            skin = (target if draws.own_skin else reference).known_skin()
            found = dressed(skin, target.params(), self.model, size, size)
            picture = 2 * found.permute(2, 0, 1) - 1
            picture = _relit(picture, generator) if draws.own_skin else picture
        return {"i_skin": picture, "kept_skin": torch.tensor(draws.kept_skin)}

    def key(self, position: int) -> str:
        """The photos of a sample, for messages."""
        draws = self._draw(generator_at(self.seed, position))
        return f"target {draws.target.key} with reference {draws.reference.key}"

    def _draw(self, generator: torch.Generator) -> _Draws:
        """Every choice has a number of its own, so that one setting leaves the other choices as they are."""
        settings = self.settings
        numbers = torch.rand(12, generator=generator, dtype=torch.float64).tolist()
        person, target, other, caption, time, text, vector, patches, both, adapter, skin, own = numbers
        own, place = self._target(person, target)
        chosen = self.persons[own][place]
        captions = chosen.captions or ("",)
        somebody = both >= settings.identity_drop
        return _Draws(
            target=chosen,
            reference=_another(self.persons[own], place, other) if settings.same_person_pairs else chosen,
            caption="" if text < settings.text_drop else captions[pick(caption, len(captions))],
            timestep=pick(DENSITIES[settings.density](time), settings.timesteps),
            kept_global=somebody and vector >= settings.global_drop,
            kept_local=somebody and patches >= settings.local_drop,
            kept_skin=somebody and skin >= settings.skin_drop,
            own_skin=own < settings.own_skin,
            kept_adapter=adapter >= settings.adapter_drop,
        )

    def _target(self, person: float, photo: float) -> tuple[int, int]:
        """Numbers of the person and of the photo among theirs."""
        if self.settings.targets == "photos":
            return self._photos[pick(photo, len(self._photos))]
        own = pick(person, len(self.persons))
        return own, pick(photo, len(self.persons[own]))


def _logit_normal(number: float) -> float:
    normal = NormalDist().inv_cdf(max(number, 2.0**-60))  # 0 itself has no logit
    return 1 / (1 + math.exp(-normal))


DENSITIES: dict[str, Callable[[float], float]] = {
    "uniform": lambda number: number,
    "linear": math.sqrt,
    "logit_normal": _logit_normal,  # arXiv 2403.03206, section 3.1, with mean 0 and deviation 1
}
"""A number uniform in [0, 1) -> one of that density."""


def pick(number: float, count: int) -> int:
    """A number uniform in [0, 1) -> one uniform in 0 to count - 1."""
    return min(int(number * count), count - 1)


def _first(own: list[Photo], count: int | None) -> tuple[Photo, ...]:
    """The first `count` of a person's photos, with their mirror images."""
    sources = list(dict.fromkeys(photo.source for photo in own))[:count]
    return tuple(photo for photo in own if photo.source in sources)


def _another(own: tuple[Photo, ...], place: int, number: float) -> Photo:
    """One of a person's photos, but not the one at `place`, nor its mirror image."""
    others = [photo for photo in own if photo.source != own[place].source]
    return others[pick(number, len(others))]


def local_of(reference: CachedPhoto) -> dict[str, Tensor]:
    """The patch features of a photo, or the crop that they are to be computed of, in [-1, 1]."""
    if reference.patches is not None:
        return {"patches": reference.patches}
    return {"crop": reference.crop.float() / 127.5 - 1}


def _relit(picture: Float[Tensor, "3 S S"], generator: torch.Generator) -> Float[Tensor, "3 S S"]:
    """Another contrast, brightness and tint for a skin in [-1, 1]; what is unknown, 0, stays so."""
    contrast, brightness, *tint = torch.rand(5, generator=generator).tolist()
    shift = 0.24 * (brightness - 0.5) + 0.12 * (torch.tensor(tint)[:, None, None] - 0.5)
    relit = ((0.85 + 0.25 * contrast) * picture + shift).clamp(-1, 1)
    return torch.where(picture == 0, picture, relit)


def _check(settings: PairSettings) -> None:
    for name in (
        "text_drop",
        "global_drop",
        "local_drop",
        "identity_drop",
        "skin_drop",
        "own_skin",
        "adapter_drop",
    ):
        if not 0 <= getattr(settings, name) <= 1:
            raise UsageError(f"{name} is {getattr(settings, name)}, expected a probability, 0 to 1")
    least = 2 if settings.same_person_pairs else 1
    if settings.per_person is not None and settings.per_person < least:
        raise UsageError(f"per_person is {settings.per_person}, expected at least {least} or None for all")
    if settings.timesteps < 1:
        raise UsageError(
            f"timesteps is {settings.timesteps}, expected the noise schedule's number, such as 1000"
        )
