"""What the user chooses; nothing here loads a network library."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from diffpc.changes import ModelOptions


@dataclass(frozen=True)
class Plan:
    """How large a benchmark is and what is drawn in it; the defaults are the paper's (Sec. 5.3)."""

    persons: int = 200
    """Persons to draw."""
    targets: int = 3
    """Photos of other persons that say pose and expression."""
    prompts: int = 3
    """Texts per person."""
    seeds: int = 3
    """Portraits of each target and text."""
    words: str = "varied"
    """The prompts: varied, or plain for the bundled model's vocabulary."""
    seed: int = 0
    """Of the choice of persons, targets and prompts."""


@dataclass(frozen=True)
class ModelChoice(ModelOptions):
    """Which model draws, and how."""

    steps: int | None = None
    """Denoising steps; by default the model's."""
    guidance: float | None = None
    """Classifier-free guidance; by default the model's."""
    strength: float | None = None
    """Identity strength."""


@dataclass(frozen=True)
class ScoreOptions:
    """Who looks at the portraits. Compare systems only where these agree."""

    detector: str = "dlib"
    """Face detector."""
    embedders: tuple[str, ...] = ("dlib", "judge")
    """Face embedders that Sim is reported with."""
    predictor: str = "light"
    """3D face predictor that Shape, Expr and Pose are reported with."""
    face_model: str = "light"
    """The predictor's 3D face."""
    clip: Path | None = None
    """Folder of a CLIP in transformers' format, for CLIP_i and CLIP_t."""
    clip_sha256: str | None = None
    """What the sha256 of its model.safetensors must be."""
    inception: Path | None = None
    """pt_inception-2015-12-05-6726825d.pth, for FID and KID."""
    calibration: tuple[Path, ...] = ()
    """Calibrations of embedders, by `diffpc evaluate calibrate`; those of dlib and judge ship with the package."""
