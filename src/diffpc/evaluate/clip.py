"""CLIP as a witness: image and text vectors from weights that the user has."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as PILImage
from safetensors import SafetensorError
from transformers import CLIPModel, CLIPTokenizer

from diffpc.errors import InputError
from diffpc.identity.local import CLIP_MEAN, CLIP_STD
from diffpc.types import Image
from diffpc.weights import sha256

NEEDS = "CLIP: pass --clip with a folder in transformers' format, for instance openai/clip-vit-base-patch32"
"""What a report says without it."""


class ClipWitness:
    """See `observe.ImageFeatures`; with a text side."""

    crops = True

    def __init__(self, model: CLIPModel, tokenizer: CLIPTokenizer, name: str, digest: str) -> None:
        self.model, self.tokenizer, self.name, self.digest = model.eval(), tokenizer, name, digest
        sizes: Any = model.config
        self.resolution = int(sizes.vision_config.image_size)
        self.length = int(sizes.text_config.max_position_embeddings)

    @torch.no_grad()
    def __call__(self, image: Image) -> Float[np.ndarray, " D"]:
        """The picture's vector, of length 1; shortest side resized (bicubic), centre cropped, as CLIP was trained."""
        pixels = torch.from_numpy(_squared(image, self.resolution)).permute(2, 0, 1)[None].float() / 255
        mean, deviation = (torch.tensor(one).view(1, 3, 1, 1) for one in (CLIP_MEAN, CLIP_STD))
        output = self.model.vision_model(pixel_values=(pixels - mean) / deviation)
        return _unit(self.model.visual_projection(output.pooler_output))[0]

    @torch.no_grad()
    def texts(self, prompts: Sequence[str]) -> Float[np.ndarray, "N D"]:
        """The texts' vectors, of length 1; what is longer than CLIP can read is cut off."""
        tokens: Any = self.tokenizer(
            list(prompts), padding="max_length", truncation=True, max_length=self.length, return_tensors="pt"
        )
        output = self.model.text_model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        return _unit(self.model.text_projection(output.pooler_output))


def load_clip(folder: Path, expected: str | None = None) -> ClipWitness:
    """CLIP from a folder.

    Args:
        folder: config.json, model.safetensors and the tokenizer's files.
        expected: sha256 that model.safetensors must have, if it is known.

    Raises:
        InputError: if it is missing, damaged, or another file than expected.
    """
    weights = folder / "model.safetensors"
    if not weights.is_file():
        raise InputError(f"{folder}: holds no model.safetensors; give a CLIP in transformers' format")
    digest = sha256(weights)
    if expected and digest != expected:
        raise InputError(f"{weights}: has the sha256 {digest}, not {expected}; fetch the right file")
    try:
        model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{folder}: no whole CLIP ({str(error)[:160]}); fetch it again") from error
    return ClipWitness(model, tokenizer, folder.name or "clip", digest)


def _squared(image: Image, side: int) -> Image:
    height, width = image.shape[:2]
    scale = side / min(height, width)
    size = max(side, round(width * scale)), max(side, round(height * scale))
    resized = PILImage.fromarray(image).resize(size, PILImage.Resampling.BICUBIC)
    left, top = (size[0] - side) // 2, (size[1] - side) // 2
    return np.asarray(resized)[top : top + side, left : left + side].copy()


def _unit(vectors: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vectors.float(), dim=-1).cpu().numpy()
