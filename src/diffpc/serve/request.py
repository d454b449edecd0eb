"""What is asked of the service, in memory: decoded photos, never a path."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, TypeAlias

from diffpc.errors import DiffPCError, UsageError
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement
from diffpc.face3d.presets import EXPRESSIONS
from diffpc.pipeline import Identity, PortraitSettings
from diffpc.settings import from_dict
from diffpc.types import FaceParams, Image

Mark: TypeAlias = tuple[str, str]
"""A file's name without folders, and its sha256."""


@dataclass(frozen=True)
class Photo:
    """A photo that was read."""

    name: str
    """What messages and the portrait's record call it: a file's name without folders."""
    image: Image
    """Upright RGB."""
    sha256: str = ""
    """Of the file it was read from."""
    face: int | None = None
    """Which face counts, 0 the largest; None if one stands out."""

    @property
    def mark(self) -> Mark:
        """Name and sha256."""
        return self.name, self.sha256


@dataclass(frozen=True)
class Origin:
    """What a person was identified by, as a portrait's record names it: photos, or an identity file."""

    photos: tuple[Mark, ...] = ()
    faces: tuple[int | None, ...] = ()
    """Of each photo."""
    file: Mark | None = None


@dataclass(frozen=True)
class Known:
    """A person who was identified before."""

    identity: Identity
    origin: Origin | None
    """None: nobody knows any more."""


@dataclass(frozen=True)
class Wish:
    """Pose and expression. What is not given is the reference's own.

    Pose: `params`, else `pose`, else the target's. Expression: `params`, else `expression`, else `scores`, else
    the target's.
    """

    target: Photo | None = None
    """Its pose and place are taken, and its expression unless another is given."""
    expression: Photo | str | None = None
    """A photo whose expression is taken, or a name of `face3d.presets.EXPRESSIONS`."""
    scores: Mapping[str, float] = field(default_factory=dict[str, float])
    """Blendshape -> 0 to 1, on a relaxed face, as sliders give them."""
    pose: Angles | None = None
    """In degrees."""
    place: Placement | None = None
    """With `pose`: where the face stands."""
    params: FaceParams | None = None
    """Expression and pose together, ready made; excludes all others."""

    @property
    def photos(self) -> tuple[Photo, ...]:
        """Those in it."""
        return tuple(one for one in (self.target, self.expression) if isinstance(one, Photo))


@dataclass(frozen=True)
class PortraitRequest:
    """Portraits of a person. None: the model's own choice."""

    references: tuple[Photo, ...] = ()
    """Photos of the person; several are averaged."""
    identity: Identity | None = None
    """The person, if known before; excludes `references`."""
    origin: Origin | None = None
    """What `identity` was made of, if that is known."""
    wish: Wish = Wish()
    prompt: str = ""
    """Everything that is not the face."""
    style: str | None = None
    """Name of one that the operator offers."""
    steps: int | None = None
    guidance: float | None = None
    strength: float | None = None
    seed: int | None = None
    count: int | None = None
    size: tuple[int, int] | None = None
    """Width, height in pixels."""
    previews: bool = True
    """Whether progress comes with pictures."""

    @property
    def made_of(self) -> Origin | None:
        """What the person is known by."""
        return origin_of(self.references) if self.references else self.origin

    @property
    def photos(self) -> tuple[Photo, ...]:
        """All of them."""
        return (*self.references, *self.wish.photos)

    @property
    def held_bytes(self) -> int:
        """Memory of the photos."""
        return sum(photo.image.nbytes for photo in self.photos)


def origin_of(photos: Sequence[Photo]) -> Origin:
    """As records name these photos of a person."""
    return Origin(tuple(photo.mark for photo in photos), tuple(photo.face for photo in photos))


@dataclass(frozen=True)
class Limits:
    """What one client may ask for, and what all together; the operator's choice."""

    queue: int = 32
    """Jobs that wait; more are refused."""
    queue_bytes: int = 2**30
    """Memory of the photos of all jobs that wait."""
    upload_bytes: int = 32 * 2**20
    """Of a whole request."""
    uploads: int = 8
    """Requests with photos that are read at the same time."""
    pixels: int = 24_000_000
    """Of all photos of a request together."""
    photos: int = 8
    """References in one request."""
    count: int = 8
    steps: int = 60
    side: int = 1536
    """Longest side of a portrait in pixels."""
    prompt: int = 2000
    """Characters."""
    kept: int = 256
    """Finished jobs whose portraits are held; the oldest go first."""
    kept_seconds: float = 900.0
    """How long portraits are held."""
    identities: int = 256
    """That are held at once."""
    identity_seconds: float = 3600.0
    """How long an identity is held after its last use."""


SETTINGS = ("steps", "guidance", "strength", "seed", "count", "size")
"""Fields of a request that are `PortraitSettings`'."""


def drawing(
    request: PortraitRequest, defaults: Mapping[str, Any], default_size: tuple[int, int]
) -> PortraitSettings:
    """The request's settings; what it leaves open is the model's choice.

    Args:
        request: what is asked for.
        defaults: the pipeline's, fields of `PortraitSettings`.
        default_size: width, height the model was trained on.
    """
    given = {name: getattr(request, name) for name in SETTINGS if getattr(request, name) is not None}
    settings = from_dict(PortraitSettings, {**defaults, **given}, "defaults")
    return replace(settings, size=settings.size or default_size)


def check_request(request: PortraitRequest, limits: Limits) -> None:
    """Refuse what is missing, contradictory or beyond the operator's limits.

    Raises:
        UsageError: naming the value and the remedy.
    """
    _check_parts(request)
    _check_pose(request.wish)
    over = {
        "references": (len(request.references), limits.photos),
        "count": (request.count or 1, limits.count),
        "steps": (request.steps or 1, limits.steps),
        "longest side": (max(request.size or (0,)), limits.side),
        "prompt characters": (len(request.prompt), limits.prompt),
    }
    for name, (value, most) in over.items():
        if value > most:
            raise UsageError(f"{name}: {value} is over this service's limit of {most}; ask for less")


def _check_parts(request: PortraitRequest) -> None:
    wish = request.wish
    named = wish.expression if isinstance(wish.expression, str) else None
    others = [one.name for one in fields(wish) if one.name != "params" and getattr(wish, one.name)]
    faults = {
        "no reference photo and no identity; give one of them": not request.references
        and request.identity is None,
        "reference photos and an identity exclude each other; give one of them": request.references
        and request.identity is not None,
        "a target and a pose exclude each other; give one of them": wish.target and wish.pose,
        "a place needs a pose; give yaw, pitch and roll with it": wish.place and not wish.pose,
        "an expression and scores exclude each other; give one of them": wish.expression and wish.scores,
        f"params exclude {', '.join(others)}; give either": wish.params is not None and others,
        f"unknown expression {str(named)[:60]!r}; choose one of: {', '.join(EXPRESSIONS)}": named is not None
        and named not in EXPRESSIONS,
    }
    for message, present in faults.items():
        if present:
            raise UsageError(message)


def _check_pose(wish: Wish) -> None:
    if wish.pose:
        for name, most in (("yaw", 90), ("pitch", 90), ("roll", 180)):
            if not abs(getattr(wish.pose, name)) <= most:
                raise UsageError(f"{name} is {getattr(wish.pose, name)}, expected {-most} to {most} degrees")
    if wish.place:
        for name in ("x", "y", "size"):
            if not 0 < getattr(wish.place, name) <= 1:
                raise UsageError(
                    f"{name} is {getattr(wish.place, name)}, expected a fraction above 0, up to 1"
                )
    for name, score in wish.scores.items():
        if not -1 <= score <= 2:
            raise UsageError(f"score {name[:40]} is {score}, expected -1 to 2")


class Cancelled(DiffPCError):
    """Whoever asked for the work took it back."""
