"""What a record may say and no option of `diffpc generate` does: the page and the REST API have more ways to ask."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

from diffpc.generate.request import Request


@dataclass(frozen=True)
class Detail:
    """How a portrait was asked for, beyond the options."""

    faces: tuple[int | None, ...] = ()
    """Which face of each reference, where they differ; empty: `Request.face` of all."""
    expression_face: int | None = None
    """Which face of the expression's photo; None: the largest."""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    """Blendshape -> 0 to 1, on a relaxed face; instead of an expression."""
    params: Mapping[str, list[float]] | None = None
    """Expression and pose in numbers, as `face3d.written` has them; instead of a target."""
    film: tuple[str, str, int] | None = None
    """Where `params` come from, if from a film: its name, its sha256, the number of the frame drawn."""

    def recorded(self) -> dict[str, Any]:
        """For the record: what is not as usual."""
        return {name: value for name, value in asdict(self).items() if value != getattr(Detail(), name)}


NAMES = tuple(one.name for one in fields(Detail))
"""Keys of a record; each may be missing."""


def remaining(request: Request, old: Mapping[str, Any]) -> Detail:
    """The detail of a checked record, less what is asked for anew.

    Args:
        request: what is given now.
        old: the record.
    """
    found: dict[str, Any] = {name: old[name] for name in NAMES if name in old}
    found |= {name: tuple(found[name]) for name in ("faces", "film") if found.get(name)}
    detail = Detail(**found)
    if request.reference or request.identity or request.face is not None:
        detail = replace(detail, faces=())
    if request.expression:
        detail = replace(detail, expression_face=None, scores={})
    if request.target or request.pose:
        detail = replace(detail, params=None, film=None)
    return detail
