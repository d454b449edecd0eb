"""Under which terms a whole configuration may be used, part by part, and what follows for all of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from diffpc.errors import UsageError
from diffpc.external.asset import Asset, Commercial, Licence
from diffpc.external.table import ASSETS
from diffpc.settings import FaceSettings

CODE = Licence("Apache-2.0", "yes")
_LFW = Licence(
    "research and demonstration only", "no", "trained on Labeled Faces in the Wild, photos for research use"
)
_DLIB = Licence("CC0 (weights), Boost (dlib)", "yes")
_UNTRAINED = Licence("yours", "unclear", "none is published; the photos it is trained on decide")
_OWN = Licence("Apache-2.0 (OpenCV, no weights)", "yes")

BASES: dict[str, dict[str, Licence | str]] = {
    "tiny": {"base": _LFW, "VAE": _LFW, "adapter": _LFW},
    "sdxl": {"base": "sdxl", "VAE": "sdxl", "adapter": _UNTRAINED},
}
"""Model -> its parts that draw, each with its licence or its asset's name."""

BACKENDS: dict[str, dict[str, Licence | str]] = {
    "detector": {"dlib": _DLIB, "insightface": "antelopev2"},
    "embedder": {"dlib": _DLIB, "judge": _LFW, "arcface": "antelopev2"},
    "local_features": {"dlib": _DLIB, "clip_vit_h": "clip_vit_h"},
    "predictor": {"light": _LFW, "smirk": "smirk"},
    "face_model": {"light": _LFW, "flame": "flame"},
    "matter": {"grabcut": _OWN, "none": CODE},
}
"""Field of `FaceSettings` -> back end -> its licence, or its asset's name."""

ROLES = {
    "detector": "detector",
    "embedder": "embedder",
    "local_features": "local features",
    "predictor": "predictor",
    "face_model": "face model",
    "matter": "matte",
}
"""Field of `FaceSettings` -> what a report calls it."""


@dataclass(frozen=True)
class Part:
    """One part of a configuration and its terms."""

    role: str
    name: str
    licence: Licence


@dataclass(frozen=True)
class LicenceReport:
    """The terms of a configuration."""

    parts: tuple[Part, ...]
    commercial: Commercial
    """Of all parts together: "no" if one forbids it, else "unclear" if one leaves it open."""

    @property
    def sentence(self) -> str:
        """One sentence: whether it may be used commercially, and because of which parts."""
        if self.commercial == "yes":
            terms = [f"{one.role} {one.licence.why}" for one in self.parts if one.licence.why]
            return "may be used commercially: yes" + (f" ({'; '.join(terms)})" if terms else "")
        blamed = [one for one in self.parts if one.licence.commercial == self.commercial]
        reasons: dict[str, list[str]] = {}
        for one in blamed:
            reasons.setdefault(one.licence.why or one.licence.name, []).append(one.role)
        because = "; ".join(f"{', '.join(roles)}: {why}" for why, roles in reasons.items())
        return f"may be used commercially: {self.commercial}, because of {because}"


def licence_report(model: str, faces: FaceSettings, more: Sequence[Asset] = ()) -> LicenceReport:
    """The terms of a model with its back ends, and of assets used with it (LoRAs, another VAE, a baseline).

    Raises:
        UsageError: if the model or a back end is unknown.
    """
    if model not in BASES:
        raise UsageError(f"unknown model {model!r}; choose one of: {', '.join(BASES)}")
    parts = [Part("code", "diffpc", CODE)]
    parts += [_part(role, model, terms) for role, terms in BASES[model].items()]
    for field, role in ROLES.items():
        name, known = getattr(faces, field), BACKENDS[field]
        if name not in known:
            raise UsageError(f"unknown {role} {name!r}; choose one of: {', '.join(known)}")
        parts.append(_part(role, name, known[name]))
    parts += [Part("with", asset.name, asset.licence) for asset in more]
    found = {part.licence.commercial for part in parts}
    worst: Commercial = "no" if "no" in found else "unclear" if "unclear" in found else "yes"
    return LicenceReport(tuple(parts), worst)


def _part(role: str, name: str, terms: Licence | str) -> Part:
    return Part(role, name, ASSETS[terms].licence) if isinstance(terms, str) else Part(role, name, terms)
