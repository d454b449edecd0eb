"""Photos of persons who do not exist: one real face, lit and turned differently each time."""

import io
import json
import tarfile
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as PILImage

from diffpc.pipeline import DiffPCPipeline
from diffpc.types import Image
from tests.pipelines import random_pipeline


@cache
def frozen_pipeline() -> DiffPCPipeline:
    """A random pipeline whose eyes are loaded once for all tests; nothing may change it."""
    return random_pipeline()


def portrait(astronaut: Image, number: int) -> Image:
    """280 x 280 px around the face; every number turns and lights it in its own way."""
    part = astronaut[:280, 90:370]
    turn = cv2.getRotationMatrix2D((137, 123), 3.0 * (number % 5 - 2), 1 + 0.02 * (number % 4))
    turned = cv2.warpAffine(part, turn, (280, 280), borderMode=cv2.BORDER_REFLECT)
    return np.clip(turned * (0.7 + 0.06 * (number % 6)), 0, 255).astype(np.uint8)


def encoded(image: Image, kind: str = "JPEG") -> bytes:
    """The bytes of an image file."""
    stream = io.BytesIO()
    PILImage.fromarray(image).save(stream, kind)
    return stream.getvalue()


def write_folders(root: Path, files: dict[str, bytes]) -> Path:
    """A folder with these files in it."""
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_shard(
    file: Path, samples: list[tuple[bytes | None, dict | bytes | None, bytes | None]]
) -> list[str]:
    """A tar in img2dataset's layout of photos, json and text, None for a member that is missing; the keys."""
    file.parent.mkdir(parents=True, exist_ok=True)
    keys = [f"{file.stem}{number:04d}" for number in range(len(samples))]
    with tarfile.open(file, "w") as tar:
        for key, (photo, values, text) in zip(keys, samples, strict=True):
            raw = json.dumps(values).encode() if isinstance(values, dict) else values
            for suffix, content in ((".jpg", photo), (".json", raw), (".txt", text)):
                if content is not None:
                    member = tarfile.TarInfo(key + suffix)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
    return keys
