"""What users ask for, as training samples: one person's photo, the face of another, a prompt for a third.

No photo shows what such a wish should look like; `diffpc.train.obey` grades what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset
from transformers import CLIPTokenizer

from diffpc.diffusion.backbone import token_ids
from diffpc.errors import InputError
from diffpc.face3d.model import FaceModel
from diffpc.face3d.predict import condition, render_condition
from diffpc.face3d.skin import dressed
from diffpc.photos import Photo
from diffpc.train.cache import Cache, CachedPhoto
from diffpc.train.critic import NOISIEST
from diffpc.train.pairs import local_of, pick
from diffpc.train.phrases import SEX, Phrases
from diffpc.train.positions import generator_at
from diffpc.train.settings import WishSettings
from diffpc.types import FaceParams

VALUES = ("expression", "jaw", "rotation")
"""Of a photo's 3D face: what a critic measures."""

WIDE = 0.1
"""Share of the photos that count as those with open mouths."""

_NUMBERS = 9
"""Random numbers that the choices of a sample take."""


def values_of(cache: Cache) -> Float[Tensor, "N V"]:
    """What a critic measures, of all photos of a cache."""
    return torch.cat([cache.column(name) for name in VALUES], dim=1)


def opening(model: FaceModel) -> Float[Tensor, " V"]:
    """How what a critic measures changes where the mouth opens."""
    wide, shut = model.expressed({"jawOpen": 1.0}), model.expressed({})
    return torch.cat([getattr(wide, name) - getattr(shut, name) for name in VALUES])


@dataclass(frozen=True)
class Lesson:
    """A look that prompts ask for or deny, and whom that would change."""

    prompts: Sequence[str]
    references: Sequence[int]
    """Numbers of photos."""


@dataclass(frozen=True)
class Wish:
    """The choices of one sample: numbers of photos, and words."""

    reference: int
    target: int
    prompt: str


class WishDataset(Dataset[dict[str, Tensor]]):
    """An endless sequence of wishes; see `diffpc.train.positions.Samples`.

    A sample holds vector and patches (or else crop) of the reference; i_3d and i_skin (3, H, W) in [-1, 1], the
    reference's shape with the target's expression and pose; tokens and tokens_2; phrases and weights (P,): what
    should be seen, 0 or 1, and how much it matters; looks and photo_looks (P,): those of the person among them, and
    of the target photo; values and importance (V,): the target's, and how much each matters; landmarks of the
    target; z_0, the target photo's latents, for an example of a photo; noise, critic_noise (C, H, W) and
    critic_timestep (); turn, a number in [0, 1) that chooses which steps are graded; kept_adapter (); index and
    reference, rows.
    """

    def __init__(
        self,
        photos: Sequence[Photo],
        cache: Cache,
        tokenizers: tuple[CLIPTokenizer, CLIPTokenizer],
        model: FaceModel,
        settings: WishSettings | None = None,
        seed: int = 0,
    ) -> None:
        """Read what the captions say.

        Args:
            photos: with captions; those that the cache refused are passed over.
            cache: built of these photos, or of more, with their skin.
            tokenizers: of both text encoders.
            model: the cache's face model.
            settings: which wishes.
            seed: of every random choice.

        Raises:
            InputError: if no photo in the cache has a caption.
        """
        self.cache, self.tokenizers, self.model = cache, tokenizers, model
        self.settings, self.seed, self.phrases = settings or WishSettings(), seed, Phrases()
        self.photos = [photo for photo in photos if photo.key in cache.rows]
        self.shown = [self.phrases.shown(photo.captions) for photo in self.photos]
        self.prompts = sorted({caption for photo in self.photos for caption in photo.captions if caption})
        if not self.prompts:
            raise InputError(f"{cache.folder}: no photo has a caption; pass --captions, or curate with some")
        self.lessons = _lessons(self.prompts, self.shown, self.phrases)
        direction = opening(model)
        rows = [cache.rows[photo.key] for photo in self.photos]
        order = (values_of(cache)[rows] @ direction).argsort(descending=True)
        self.wide = order[: max(1, int(WIDE * len(rows)))].tolist()
        """Photos with open mouths."""
        weights = torch.where(direction != 0, self.settings.mouth, 1.0)
        self.importance = weights / weights.mean()

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The sample at a position from 0 on."""
        generator = generator_at(self.seed, position)
        numbers = _numbers(generator)
        wish = self._wish(numbers)
        row, index = (self.cache.rows[self.photos[one].key] for one in (wish.reference, wish.target))
        reference, target = self.cache[row], self.cache[index]
        first, second = (token_ids([wish.prompt], tokenizer)[0] for tokenizer in self.tokenizers)
        phrases, weights = self._wanted(wish)
        personal = self.phrases.personal
        shape = target.latent.shape
        return {
            **self._pictures(reference, condition(reference.params(), target.params(), target.params())),
            "vector": reference.vector,
            **local_of(reference),
            "tokens": first,
            "tokens_2": second,
            "phrases": phrases,
            "weights": weights,
            "looks": phrases * personal,
            "photo_looks": self.shown[wish.target] * personal,
            "values": torch.cat([getattr(target, name) for name in VALUES]),
            "importance": self.importance,
            "landmarks": target.landmarks,
            "z_0": target.latent,
            "noise": torch.randn(shape, generator=generator),
            "critic_noise": torch.randn(shape, generator=generator),
            "critic_timestep": torch.tensor(pick(numbers[5] ** 2, NOISIEST)),
            "turn": torch.tensor(numbers[6]),
            "kept_adapter": torch.tensor(numbers[7] >= self.settings.adapter_drop),
            "index": torch.tensor(index),
            "reference": torch.tensor(row),
        }

    def key(self, position: int) -> str:
        """The photos of a sample, for messages."""
        wish = self._wish(_numbers(generator_at(self.seed, position)))
        return f"reference {self.photos[wish.reference].key} with target {self.photos[wish.target].key}"

    def _wish(self, numbers: Sequence[float]) -> Wish:
        """Every choice has a number of its own."""
        settings, everyone = self.settings, range(len(self.photos))
        lesson = Lesson(self.prompts, everyone)
        if (half := 2 * numbers[4]) < 1 and self.lessons:  # half of the prompts teach a look, all looks alike
            lesson = self.lessons[pick(half, len(self.lessons))]
        targets = self.wide if numbers[8] < settings.open_mouth else everyone
        reference = lesson.references[pick(numbers[0], len(lesson.references))]
        target = reference if numbers[2] < settings.own_face else targets[pick(numbers[1], len(targets))]
        if numbers[3] < settings.text_drop:
            return Wish(reference, target, "")
        place = half * max(1, len(self.lessons)) % 1
        return Wish(reference, target, self._fitting(lesson.prompts, reference, place))

    def _fitting(self, prompts: Sequence[str], reference: int, number: float) -> str:
        """A prompt that does not take the reference for a person of the other sex."""
        start = pick(number, len(prompts))
        for step in range(min(len(prompts), 20)):
            prompt = prompts[(start + step) % len(prompts)]
            asked = self.phrases.asked(prompt)[SEX]
            if not (asked * (2 * self.shown[reference][SEX] - 1) < 0).any():
                return prompt
        return ""

    def _wanted(self, wish: Wish) -> tuple[Float[Tensor, " P"], Float[Tensor, " P"]]:
        """What the prompt asks for; where it is silent, the reference's looks."""
        asked = self.phrases.asked(wish.prompt)
        silent = asked == 0
        phrases = torch.where(silent, self.shown[wish.reference], (asked > 0).float())
        weights = torch.where(silent, self.settings.silent * self.phrases.personal, asked.abs())
        return phrases, weights

    def _pictures(self, reference: CachedPhoto, params: FaceParams) -> dict[str, Tensor]:
        """I_3d and I_skin of the reference in the target's place."""
        size = params.frame[0]
        i_3d = render_condition(params, self.model, size, size)
        skin = dressed(reference.known_skin(), params, self.model, size, size)
        return {"i_3d": (2 * i_3d - 1).expand(3, -1, -1), "i_skin": 2 * skin.permute(2, 0, 1) - 1}


def _numbers(generator: torch.Generator) -> list[float]:
    return torch.rand(_NUMBERS, generator=generator, dtype=torch.float64).tolist()


def _lessons(prompts: Sequence[str], shown: Sequence[Tensor], phrases: Phrases) -> list[Lesson]:
    """Every look but the sex that a prompt can ask for or deny; of whoever does not have it, or has it."""
    asked = torch.stack([phrases.asked(prompt) for prompt in prompts])
    seen = torch.stack(list(shown))
    found: list[Lesson] = []
    for number in phrases.personal.nonzero().flatten().tolist()[SEX.stop :]:
        for said, had in ((1, 0), (-1, 1)):
            chosen: list[int] = (asked[:, number] == said).nonzero().flatten().tolist()
            people: list[int] = (seen[:, number] == had).nonzero().flatten().tolist()
            if chosen and people:
                found.append(Lesson(tuple(prompts[one] for one in chosen), tuple(people)))
    return found
