"""The second step: every picture is looked at once, by everything that scores need, and the result is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import safetensors.torch
import torch
from safetensors import safe_open

from diffpc.evaluate.background import background
from diffpc.evaluate.gauge import Gauge
from diffpc.face3d.pose import rotation_from
from diffpc.face3d.predict import FacePredictor
from diffpc.faces.align import cut_crop, face_crop
from diffpc.faces.detect import FaceDetector
from diffpc.faces.embed import FaceEmbedder, embed_faces
from diffpc.files import atomic_write
from diffpc.images import read_image
from diffpc.types import Face, Image
from diffpc.weights import fingerprint, sha256

FACE_SIDE = 224
"""Of the crops that image features of a face are taken from, in pixels."""

Observation = Mapping[str, np.ndarray]
"""name -> vector, or -> (N, D) for N pictures; not a number where no face was found."""


@runtime_checkable
class ImageFeatures(Protocol):
    """Pictures -> vectors: CLIP's image encoder, or Inception."""

    name: str
    """What the vectors are called."""
    digest: str
    """sha256 of the weights."""
    crops: bool
    """Whether to look at the face's crop too."""

    def __call__(self, image: Image) -> np.ndarray:
        """(H, W, 3) -> (D,)."""
        ...


@dataclass(frozen=True)
class Witnesses:
    """Everything that looks at a picture."""

    detector: FaceDetector
    embedders: tuple[FaceEmbedder, ...]
    predictor: FacePredictor
    gauge: Gauge
    images: tuple[ImageFeatures, ...] = ()
    """What looks at whole pictures."""
    names: tuple[tuple[str, str], ...] = ()
    """What they are: a change of it means other observations."""

    @cached_property
    def digest(self) -> str:
        """Of everything that decides an observation."""
        weights = [_fingerprint(one) for one in (*self.embedders, self.predictor, self.gauge)]
        parts = [list(self.names), weights, [(one.name, one.digest) for one in self.images]]
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    def look(self, image: Image) -> dict[str, np.ndarray]:
        """Look at one picture; its largest face counts."""
        faces = self.detector(image)
        found: dict[str, np.ndarray] = {
            "found": np.array([float(bool(faces))]),
            "background": background(image),
        }
        for features in self.images:
            found[features.name] = features(image)
            if features.crops and faces:
                found[f"{features.name}/face"] = features(cut_crop(image, face_crop(faces[0], FACE_SIDE)))
        return found | (self._face(image, faces[0]) if faces else {})

    def _face(self, image: Image, face: Face) -> dict[str, np.ndarray]:
        vectors = {
            f"vector/{one.name}": embed_faces(one, image, [face])[0].cpu().numpy() for one in self.embedders
        }
        params = self.predictor(image, face)
        named = ("shape", "expression", "eyelid", "jaw", "rotation", "camera")
        coefficients = {f"params/{name}": getattr(params, name).numpy() for name in named}
        reading = self.gauge.read(image, face)
        gauge = {
            "gauge/rotation": rotation_from(reading.angles).numpy(),
            "gauge/expression": reading.expressions.numpy(),
            "gauge/attribute": reading.attributes.numpy(),
        }
        return vectors | coefficients | gauge


def observe(witnesses: Witnesses, pictures: Sequence[tuple[str, Path]], cache: Path) -> dict[str, np.ndarray]:
    """Look at pictures, or recall what was seen in them.

    Args:
        witnesses: who looks.
        pictures: name and file; a file that is not there gives a row without a face.
        cache: file that keeps the result; other pictures or witnesses are seen anew.

    Returns:
        name -> (N, D) float64; "drawn" is 1 where there was a file.
    """
    about = json.dumps(
        [witnesses.digest, [(name, sha256(path) if path.is_file() else None) for name, path in pictures]]
    )
    known = _recall(cache, about)
    if known is not None:
        return known
    seen = [witnesses.look(read_image(path)) if path.is_file() else {} for _, path in pictures]
    drawn = np.array([[float(path.is_file())] for _, path in pictures])
    found = stacked(seen) | {"drawn": drawn}
    with atomic_write(cache) as stream:
        tensors = {name: torch.from_numpy(value.copy()) for name, value in found.items()}
        stream.write(safetensors.torch.save(tensors, metadata={"about": about}))
    return found


def stacked(seen: Sequence[Observation]) -> dict[str, np.ndarray]:
    """Rows of one table per name; what a picture lacks is not a number."""
    widths = {name: value.shape[0] for one in seen for name, value in one.items()}
    return {
        name: np.stack([np.asarray(one.get(name, np.full(width, np.nan)), np.float64) for one in seen])
        for name, width in widths.items()
    }


def joined(tables: Sequence[Mapping[str, np.ndarray]]) -> dict[str, np.ndarray]:
    """Tables below each other; what one lacks is not a number."""
    widths = {name: value.shape[1] for one in tables for name, value in one.items()}
    return {
        name: np.concatenate([one.get(name, np.full((len(one["drawn"]), width), np.nan)) for one in tables])
        for name, width in widths.items()
    }


def _recall(cache: Path, about: str) -> dict[str, np.ndarray] | None:
    if not cache.is_file():
        return None
    with safe_open(cache, framework="pt") as file:
        if (file.metadata() or {}).get("about") != about:
            return None
        return {name: file.get_tensor(name).numpy() for name in file.keys()}  # noqa: SIM118 - no mapping


def _fingerprint(part: object) -> str:
    """sha256 of a network's weights, wherever they came from."""
    module = part if isinstance(part, torch.nn.Module) else getattr(part, "encoder", None)
    return fingerprint(module if isinstance(module, torch.nn.Module) else None)
