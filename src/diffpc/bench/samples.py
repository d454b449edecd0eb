"""Synthetic training samples: random values with the shapes and ranges of real ones, drawn by position."""

from __future__ import annotations

import torch
from torch import Tensor

from diffpc.bench.parts import LAYOUT, Parts
from diffpc.diffusion.backbone import downscale
from diffpc.faces.align import ARCFACE_112
from diffpc.faces.embed import normalise
from diffpc.train.positions import generator_at
from diffpc.train.settings import Recipe

ROWS = 16
"""Samples kept in memory, as a cache would keep them in mapped files; what is drawn anew for each is not kept."""

GOLDEN = 0.6180339887498949
"""Multiples of it, modulo 1, are spread evenly: any few steps have their share of small timesteps."""


class Cached:
    """What `diffpc train` reads from its cache: see `diffpc.train.pairs.PairDataset`."""

    def __init__(self, recipe: Recipe, parts: Parts, seed: int) -> None:
        self.pairs, self.seed = recipe.pairs, seed
        generator = torch.Generator().manual_seed(seed)
        side = recipe.cache.size // downscale(parts.backbone.vae)
        shape = (recipe.model.backbone.vae.latent_channels, side, side)
        self.rows = {
            "z_0": torch.randn(ROWS, *shape, generator=generator).half(),
            "z_3d": torch.randn(ROWS, *shape, generator=generator).half(),
            "vector": normalise(torch.randn(ROWS, 1, parts.embedder.dimension, generator=generator)),
            **_tokens(recipe, generator),
            **_landmarks(recipe, generator),
        }
        self.crops = _bytes((3, parts.local.resolution, parts.local.resolution), generator)
        if recipe.cache.patches:
            self.rows["patches"] = _patches(parts, self.crops)

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The sample at a position; noise and what is dropped are drawn here, as for real pairs."""
        generator = generator_at(self.seed, position)
        row = position % ROWS
        kept_global, kept_local, both = torch.rand(3, generator=generator).tolist()
        somebody = both >= self.pairs.identity_drop
        sample = {name: values[row] for name, values in self.rows.items()}
        if "patches" not in sample:
            sample["crop"] = self.crops[row].float() / 127.5 - 1
        return sample | {
            "timestep": torch.tensor(int(position * GOLDEN % 1 * self.pairs.timesteps)),
            "noise": torch.randn(sample["z_0"].shape, generator=generator),
            "kept_global": torch.tensor(somebody and kept_global >= self.pairs.global_drop),
            "kept_local": torch.tensor(somebody and kept_local >= self.pairs.local_drop),
        }

    def key(self, position: int) -> str:
        """A name for messages."""
        return f"synthetic pair {position}"


class Pictures:
    """What a script without a cache reads: decoded, resized and scaled already, which costs it nothing here.

    picture and condition (3, H, W), chip and crop of the reference, all in [-1, 1]; landmarks, tokens and tokens_2;
    text (T, D) and pooled (P,), encoded before the training.
    """

    def __init__(self, recipe: Recipe, parts: Parts, seed: int) -> None:
        self.seed = seed
        generator = torch.Generator().manual_seed(seed)
        size, backbone = recipe.cache.size, recipe.model.backbone
        length, pooled = backbone.text_encoder.length, backbone.text_encoder_2.projection
        sides = {
            "picture": size,
            "condition": size,
            "chip": parts.embedder.template.size,
            "crop": parts.local.resolution,
        }
        self.rows = {
            **{name: _bytes((3, side, side), generator).float() / 127.5 - 1 for name, side in sides.items()},
            "text": torch.randn(ROWS, length, backbone.text_width, generator=generator),
            "pooled": torch.randn(ROWS, pooled, generator=generator),
            **_tokens(recipe, generator),
            **_landmarks(recipe, generator),
        }

    def __getitem__(self, position: int) -> dict[str, Tensor]:
        """The sample at a position."""
        return {name: values[position % ROWS] for name, values in self.rows.items()}

    def key(self, position: int) -> str:
        """A name for messages."""
        return f"synthetic photo {position}"


def _bytes(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.randint(256, (ROWS, *shape), generator=generator, dtype=torch.uint8)


@torch.no_grad()
def _patches(parts: Parts, crops: Tensor) -> Tensor:
    pixels = (crops.float() / 127.5 - 1).to(parts.device, parts.dtype)
    return parts.local(pixels).half().cpu()


def _tokens(recipe: Recipe, generator: torch.Generator) -> dict[str, Tensor]:
    """Token ids without padding: its length changes nothing."""
    encoders = {
        "tokens": recipe.model.backbone.text_encoder,
        "tokens_2": recipe.model.backbone.text_encoder_2,
    }
    return {
        name: torch.randint(encoder.vocabulary - 2, (ROWS, encoder.length), generator=generator)
        for name, encoder in encoders.items()
    }


def _landmarks(recipe: Recipe, generator: torch.Generator) -> dict[str, Tensor]:
    """Faces of half the picture's side, near its middle."""
    size = recipe.cache.size
    points = torch.as_tensor(ARCFACE_112.points[LAYOUT]).float() / ARCFACE_112.size
    corners = size * (0.2 + 0.1 * torch.rand(ROWS, 1, 2, generator=generator))
    return {"landmarks": corners + size / 2 * points}
