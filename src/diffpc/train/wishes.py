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
from diffpc.train.phrases import Phrases
from diffpc.train.positions import generator_at
from diffpc.train.settings import WishSettings
from diffpc.types import FaceParams

VALUES = ("expression", "rotation")
"""Of a photo's 3D face: what a critic measures."""


def values_of(cache: Cache) -> Float[Tensor, "N V"]:
    """What a critic measures, of all photos of a cache."""
    return torch.cat([cache.column(name) for name in VALUES], dim=1)


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
    should be seen, 0 or 1, and how much it matters; values (V,): the target's; landmarks of the target; z_0, the
    target photo's latents, for an example of a photo; noise, critic_noise (C, H, W) and critic_timestep ();
    turn, a number in [0, 1) that chooses which steps are graded; kept_adapter (); index and reference, rows.
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
        self.asking = _asking(self.photos, self.phrases)
        """Phrase -> the prompts that ask for it; the last are all prompts."""
        if not self.asking[-1]:
            raise InputError(f"{cache.folder}: no photo has a caption; pass --captions, or curate with some")

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The sample at a position from 0 on."""
        generator = generator_at(self.seed, position)
        numbers = torch.rand(8, generator=generator, dtype=torch.float64).tolist()
        wish = self._wish(numbers)
        row, index = (self.cache.rows[self.photos[one].key] for one in (wish.reference, wish.target))
        reference, target = self.cache[row], self.cache[index]
        first, second = (token_ids([wish.prompt], tokenizer)[0] for tokenizer in self.tokenizers)
        phrases, weights = self._wanted(wish)
        shape = target.latent.shape
        return {
            **self._pictures(reference, condition(reference.params(), target.params(), target.params())),
            "vector": reference.vector,
            **local_of(reference),
            "tokens": first,
            "tokens_2": second,
            "phrases": phrases,
            "weights": weights,
            "values": torch.cat([getattr(target, name) for name in VALUES]),
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
        numbers = torch.rand(8, generator=generator_at(self.seed, position), dtype=torch.float64).tolist()
        wish = self._wish(numbers)
        return f"reference {self.photos[wish.reference].key} with target {self.photos[wish.target].key}"

    def _wish(self, numbers: Sequence[float]) -> Wish:
        """Every choice has a number of its own."""
        settings = self.settings
        reference, target = pick(numbers[0], len(self.photos)), pick(numbers[1], len(self.photos))
        if numbers[2] < settings.own_face:
            target = reference
        if numbers[3] < settings.text_drop:
            return Wish(reference, target, "")
        kinds = 1 + len(self.phrases.names)
        wanted = numbers[4] * kinds * 2  # half of the prompts ask for a phrase, all phrases alike
        asking = self.asking[int(wanted)] if wanted < kinds else self.asking[-1]
        prompt = self._fitting(asking or self.asking[-1], reference, wanted % 1)
        return Wish(reference, target, prompt)

    def _fitting(self, prompts: Sequence[str], reference: int, number: float) -> str:
        """A prompt that does not take the reference for a person of the other sex."""
        start = pick(number, len(prompts))
        sex = slice(0, 2)
        for step in range(min(len(prompts), 20)):
            prompt = prompts[(start + step) % len(prompts)]
            asked = self.phrases.asked(prompt)[sex]
            if not (asked * (2 * self.shown[reference][sex] - 1) < 0).any():
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


def _asking(photos: Sequence[Photo], phrases: Phrases) -> list[list[str]]:
    """For each phrase the captions that ask for it, and all captions, each once."""
    captions = sorted({caption for photo in photos for caption in photo.captions if caption})
    found: list[list[str]] = [[] for _ in phrases.names]
    for caption in captions:
        for number in (phrases.asked(caption) > 0).nonzero().flatten().tolist():
            found[number].append(caption)
    return [*found, captions]
