"""All back ends that look at photos, chosen by a model's settings and loaded once."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol, runtime_checkable

import torch
from torch import nn

from diffpc.face3d.model import FaceModel, load_face_model
from diffpc.face3d.pose import rotation_distance
from diffpc.face3d.predict import FacePredictor, load_predictor
from diffpc.faces.detect import FaceDetector, choose_face, load_detector
from diffpc.faces.embed import load_embedder
from diffpc.faces.matte import load_matter
from diffpc.identity.local import load_local_features
from diffpc.identity.reference import ReferenceFeatures, ReferenceTools, reference_features
from diffpc.settings import FaceSettings
from diffpc.types import Face, FaceParams, Image
from diffpc.weights import fingerprint


@dataclass(frozen=True)
class Likeness:
    """A portrait as seen by the very networks that condition the model; None where no face was found."""

    similarity: float | None
    """Cosine of the face embeddings of portrait and reference."""
    pose_error: float | None
    """Angle between the wanted and the found head rotation, degrees."""
    expression_error: float | None
    """Root mean square difference of the expression coefficients."""


@runtime_checkable
class Wanted(Protocol):
    """What a portrait is held against: its 3D face."""

    @property
    def params(self) -> FaceParams:
        """(alpha_ref, beta_tgt, gamma_tgt)."""
        ...


class Eyes:
    """Detector, embedder, patch features, matte and 3D predictor of one model."""

    def __init__(self, settings: FaceSettings, device: torch.device | None = None) -> None:
        """Nothing is loaded yet.

        Args:
            settings: of the model.
            device: where the embedder and the patch features compute: ViT-H alone is 335 GFLOP a face. What they find
                is on the CPU, as is all that detector and 3D predictor do. None: the CPU.
        """
        self.settings, self.device = settings, device or torch.device("cpu")

    @cached_property
    def detector(self) -> FaceDetector:
        """Finds faces."""
        return load_detector(self.settings.detector)

    @cached_property
    def predictor(self) -> FacePredictor:
        """E_3d."""
        return load_predictor(self.settings.predictor)

    @cached_property
    def model(self) -> FaceModel:
        """The 3D face."""
        return load_face_model(self.settings.face_model)

    @cached_property
    def tools(self) -> ReferenceTools:
        """What reads a reference."""
        embedder, local = (
            load_embedder(self.settings.embedder),
            load_local_features(self.settings.local_features),
        )
        for part in (embedder, local):
            if isinstance(part, nn.Module):
                part.to(self.device)
        return ReferenceTools(
            embedder=embedder,
            local=local,
            matter=load_matter(self.settings.matter),
            scale=self.settings.reference_scale,
        )

    @cached_property
    def marks(self) -> dict[str, str]:
        """What a person's features depend on, with a sha256 of its weights: the same marks, the same features."""
        settings, tools = self.settings, self.tools
        return {
            "embedder": f"{settings.embedder} {_weights_of(tools.embedder)}",
            "local_features": f"{settings.local_features} {_weights_of(tools.local)}",
            "predictor": f"{settings.predictor} {_weights_of(getattr(self.predictor, 'encoder', None))}",
            "matter": settings.matter,
            "reference_scale": f"{settings.reference_scale:g}",
        }

    def face(self, photo: Image, index: int | None, name: str, option: str = "--face") -> Face:
        """The one face that is meant; see `faces.detect.choose_face`."""
        return choose_face(self.detector(photo), index, name, self.detector.tried, option)

    def features(self, photo: Image, face: Face) -> ReferenceFeatures:
        """F_global and F_local of a face."""
        return reference_features(photo, face, self.tools)

    def params(self, photo: Image, face: Face) -> FaceParams:
        """alpha, beta, gamma of a face (Eq. 5, 6)."""
        return self.predictor(photo, face)

    def compare(self, portrait: Image, reference: ReferenceFeatures, wanted: Wanted) -> Likeness:
        """How well a portrait obeyed."""
        faces = self.detector(portrait)
        if not faces:
            return Likeness(None, None, None)
        vector = self.features(portrait, faces[0]).global_vector
        similarity = torch.cosine_similarity(vector.flatten(), reference.global_vector.flatten(), dim=0)
        found = self.params(portrait, faces[0])
        difference = found.expression - wanted.params.expression
        return Likeness(
            similarity=round(float(similarity), 4),
            pose_error=round(math.degrees(rotation_distance(found.rotation, wanted.params.rotation)), 2),
            expression_error=round(float(difference.square().mean().sqrt()), 4),
        )


def _weights_of(part: object) -> str:
    return fingerprint(part if isinstance(part, nn.Module) else None)
