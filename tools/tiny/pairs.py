"""Pairs of the prepared arrays: the samples of `diffpc.train.adapter.AdapterTask`."""

from dataclasses import dataclass

import torch
from torch import Tensor

from diffpc.train.base import drawn_caption
from diffpc.train.positions import Drawn


@dataclass(frozen=True)
class Arrays:
    """What is constant per target crop (N) and per reference photo (R)."""

    latents: Tensor
    """(N, C, H, W), times the scaling factor."""
    z_3d: Tensor
    """(N, C, H, W), latents of the targets' I_3d."""
    captions: Tensor
    """(N, K, T), token ids."""
    landmarks: Tensor
    """(N, 5, 2), of the targets, in pixels of the crop."""
    photo: Tensor
    """(N,), the photo (row of the reference tensors) that each crop was cut from."""
    person: Tensor
    """(R,), who is on each photo; photos of one person stand together."""
    vectors: Tensor
    """(R, 1, d1), F_global, L2-normalised."""
    patches: Tensor
    """(R, L, d2), F_local."""
    empty: Tensor
    """(T,), token ids of the empty prompt."""


@dataclass(frozen=True)
class Drops:
    """Probabilities of leaving something out."""

    text: float = 0.1
    vector: float = 0.05
    patches: float = 0.05
    identity: float = 0.05
    """Both at once, so that guidance has a "nobody" to push away from; 0 in the paper."""
    adapter: float = 0.1
    """Of a joint training: the base must stand alone."""


class Pairs:
    """Reference and target are always two different photos of one person (method.md, point 17)."""

    def __init__(self, data: Arrays, drops: Drops) -> None:
        self.data, self.drops = data, drops
        self.count = torch.bincount(data.person)
        self.first = torch.cumsum(self.count, 0) - self.count

    def samples(self, seed: int) -> Drawn:
        """The sequence of pairs."""
        return Drawn(
            seed, self.draw, lambda sample: f"crop {int(sample['index'])}, photo {int(sample['reference'])}"
        )

    def draw(self, generator: torch.Generator) -> dict[str, Tensor]:
        """One pair."""
        data, drops = self.data, self.drops
        index = torch.randint(len(data.latents), (), generator=generator)
        reference = self.other(data.photo[index], generator)
        z_0 = data.latents[index].float()
        vector, patches, nobody = torch.rand(3, generator=generator).tolist()
        somebody = nobody >= drops.identity
        tokens = drawn_caption(data.captions[index], data.empty, drops.text, generator)
        return {
            "index": index,
            "reference": reference,
            "z_0": z_0,
            "z_3d": data.z_3d[index],
            "noise": torch.randn(z_0.shape, generator=generator),
            # Whose face it is and how it stands is decided where there is much noise.
            "timestep": (1000 * torch.rand((), generator=generator).sqrt()).long().clamp(max=999),
            "tokens": tokens,
            "tokens_2": tokens,
            "vector": data.vectors[reference],
            "patches": data.patches[reference],
            "kept_global": torch.tensor(vector >= drops.vector and somebody),
            "kept_local": torch.tensor(patches >= drops.patches and somebody),
            "landmarks": data.landmarks[index],
            "kept_adapter": torch.rand((), generator=generator) >= drops.adapter,
        }

    def other(self, photo: Tensor, generator: torch.Generator) -> Tensor:
        """Another photo of the same person."""
        person = self.data.person[photo]
        first, count = self.first[person], self.count[person]
        step = 1 + torch.randint(int(count) - 1, (), generator=generator)
        return first + (photo - first + step) % count
