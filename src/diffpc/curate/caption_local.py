"""Captions by an image-text model of transformers, on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image as PILImage

from diffpc.curate.caption import Said, Seen
from diffpc.curate.settings import CaptionSettings
from diffpc.errors import InputError, UsageError

TOKENS = 200
"""Greatest length of a caption."""


class LocalCaptioner:
    """See `caption.Captioner`; greedy decoding, one photo at a time, so that a caption depends on its photo alone."""

    def __init__(self, processor: Any, model: Any, instruction: str) -> None:
        self._processor, self._model, self._instruction = processor, model.eval(), instruction

    def __call__(self, photos: Sequence[Seen]) -> list[Said]:
        """See `Captioner`."""
        return [Said((self._described(photo),)) for photo in photos]

    @torch.no_grad()
    def _described(self, photo: Seen) -> str:
        inputs = self._inputs(PILImage.open(BytesIO(photo.picture))).to(self._model.device, self._model.dtype)
        answer = self._model.generate(**inputs, max_new_tokens=TOKENS, do_sample=False)
        # Chat models repeat the question; captioners such as BLIP answer at once.
        question = inputs["input_ids"].shape[1] if "input_ids" in inputs else 0
        text = self._processor.batch_decode(answer[:, question:], skip_special_tokens=True)[0]
        return " ".join(text.split())

    def _inputs(self, picture: PILImage.Image) -> Any:
        if not getattr(self._processor, "chat_template", None):
            return self._processor(images=picture, return_tensors="pt")
        content = [{"type": "image", "image": picture}, {"type": "text", "text": self._instruction}]
        return self._processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )


def load_local_captioner(settings: CaptionSettings, folder: Path) -> LocalCaptioner:
    """The model of that name or folder.

    Raises:
        UsageError: if none is named, or more than one caption is wanted.
        InputError: if it cannot be loaded.
    """
    del folder
    if not settings.model or settings.count != 1:
        raise UsageError(
            "the transformers captioner needs --captions.model NAME, and gives one caption per photo"
        )
    from transformers import AutoModelForImageTextToText, AutoProcessor

    try:
        processor = AutoProcessor.from_pretrained(settings.model)
        model = AutoModelForImageTextToText.from_pretrained(settings.model, dtype="auto")
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise InputError(
            f"{settings.model}: cannot be loaded as an image-text model ({reason}); give a folder or a name on the hub"
        ) from error
    place = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return LocalCaptioner(processor, torch.nn.Module.to(model, place), settings.instruction)
