"""What one visitor has on the page: photos with faces, and where pose and expression start from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from types import MappingProxyType

from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.face3d.presets import EXPRESSIONS, preset
from diffpc.images import MAX_PIXELS, decode_image
from diffpc.portrait import Identity
from diffpc.serve.identity_files import IdentityFile, unlocked
from diffpc.serve.page.controls import (
    LIMITS,
    ExpressionSliders,
    PoseSliders,
    Start,
    controlled,
    place_ranges,
    posed_by,
    shown,
    started,
    within,
)
from diffpc.serve.request import Mark
from diffpc.types import Face, FaceParams, Image

MAX_REFERENCES = 8
"""Photos of the person; more add nothing to the average that can be seen."""

REFERENCE = "reference"
PHOTO = "photo"
REPLAYED = "replayed"

TARGET = "target"
EXPRESSION = "expression"

POSES: Mapping[str, PoseSliders] = MappingProxyType(
    {
        "frontal": PoseSliders(),
        "left": PoseSliders(yaw=-30.0),
        "right": PoseSliders(yaw=30.0),
        "up": PoseSliders(pitch=18.0),
        "down": PoseSliders(pitch=-18.0),
        "tilted": PoseSliders(roll=15.0),
    }
)
"""Named poses: name -> sliders."""


@dataclass(frozen=True)
class Photo:
    """A photo that a visitor dropped."""

    name: str
    image: Image
    faces: tuple[Face, ...]
    """Largest first; at least one."""
    digest: str
    """sha256 of the file, as provenance records it."""
    chosen: int = 0
    """The face that counts."""

    @property
    def face(self) -> Face:
        """The face that counts."""
        return self.faces[self.chosen]

    def choosing(self, face: int | None) -> Photo:
        """The photo with that face chosen; as it is if there is no such face."""
        return replace(self, chosen=face) if face is not None and face < len(self.faces) else self


@dataclass(frozen=True)
class Filed:
    """The person of an identity file that a visitor dropped."""

    mark: Mark
    identity: Identity


@dataclass(frozen=True)
class Source:
    """Where the pose or the expression starts from."""

    name: str
    """REFERENCE, PHOTO, REPLAYED, or the name of a pose or an expression."""
    start: Start
    photo: Photo | None = None
    """The photo it was read from, if any."""
    scores: Mapping[str, float] | None = None
    """The blendshape scores of a replayed expression."""


@dataclass(frozen=True)
class Look:
    """How one model sees faces and frames them."""

    eyes: Eyes
    size: tuple[int, int]
    """Width, height in pixels of its portraits."""
    most_pixels: int = MAX_PIXELS
    """Of one photo."""

    def photo(self, data: bytes, name: str) -> Photo:
        """A dropped file with its faces.

        Raises:
            InputError: if it is no photo, or there is no face in it.
        """
        image = decode_image(data, name, self.most_pixels)
        faces = self.eyes.detector(image)
        if not faces:
            raise InputError(
                f"No face was found in {name}. Use a photo in which the face is upright, lit, uncovered and at "
                "least about 40 pixels wide."
            )
        return Photo(name, image, faces, sha256(data).hexdigest())

    def start(self, params: FaceParams) -> Start:
        """A face with the sliders' readings of it."""
        framing = self.eyes.settings.framing
        found = started(params, self.eyes.model, self.size, framing)
        return replace(found, pose=within(found.pose, framing))

    def read(self, photo: Photo) -> Source:
        """The face of a photo, as the start of pose or expression."""
        return Source(PHOTO, self.start(self.eyes.params(photo.image, photo.face)), photo)

    def pose(self, name: str) -> Source:
        """A named pose."""
        sliders = within(POSES[name], self.eyes.settings.framing)
        params = posed_by(sliders, self.eyes.model)
        return Source(name, replace(self.start(params), pose=sliders))

    def expression(self, name: str) -> Source:
        """A named expression.

        Raises:
            UsageError: if the name is unknown, or the model cannot show it.
        """
        return Source(name, self.start(preset(name, self.eyes.model)))

    def reference(self, sitting: Sitting) -> Source:
        """The person's own pose and expression; of the mean face until there is a photo."""
        if sitting.references:
            return replace(self.read(sitting.references[0]), name=REFERENCE)
        if sitting.filed:
            return Source(REFERENCE, self.start(sitting.filed.identity.params))
        return opened(self).pose

    def expressions(self) -> list[str]:
        """Names of the expressions that the model can show."""
        return [name for name in EXPRESSIONS if self._shows(name)]

    def ranges(self) -> dict[str, tuple[float, float]]:
        """The sliders that the model knows, with their ranges."""
        turns = {name: (-limit, limit) for name, limit in LIMITS.items()}
        return turns | place_ranges(self.eyes.settings.framing) | shown(self.eyes.model)

    def _shows(self, name: str) -> bool:
        try:
            preset(name, self.eyes.model)
        except UsageError:
            return False
        return True


@dataclass(frozen=True)
class Sitting:
    """One visitor's photos and choices."""

    identity: FaceParams
    """The person's 3D face; the mean face until there is a person."""
    pose: Source
    expression: Source
    references: tuple[Photo, ...] = ()
    filed: Filed | None = None
    """The person, of an identity file; excludes photos."""
    locked: IdentityFile | None = None
    """An identity file that waits for its passphrase."""
    pose_photo: Source | None = None
    """The last photo that was given for the pose; it stays a choice."""
    expression_photo: Source | None = None
    """The last photo that was given for the expression; it stays a choice."""
    recalled: Mapping[tuple[str, str], int] = field(default_factory=dict[tuple[str, str], int])
    """The faces that a replayed record chose: (REFERENCE, TARGET or EXPRESSION, sha256 of the photo) -> face."""

    def arrived(self, photo: Photo, place: str) -> Photo:
        """A photo dropped at REFERENCE, TARGET or EXPRESSION, with the face that a replayed record chose in it."""
        return photo.choosing(self.recalled.get((place, photo.digest)))

    def params(self, sliders: tuple[PoseSliders, ExpressionSliders], look: Look) -> FaceParams:
        """(alpha_ref, beta_tgt, gamma_tgt) of Eq. 7."""
        return controlled(self.identity, self.pose.start, self.expression.start, sliders, look.eyes.model)

    @property
    def sliders(self) -> tuple[PoseSliders, ExpressionSliders]:
        """Where the sliders stand before they are moved."""
        return self.pose.start.pose, self.expression.start.expression


def opened(look: Look) -> Sitting:
    """An empty page: the mean face, relaxed and looking straight ahead."""
    mean = replace(look.pose("frontal"), name=REFERENCE)
    return Sitting(mean.start.params, mean, mean)


def with_references(sitting: Sitting, photos: Sequence[Photo], look: Look) -> Sitting:
    """The sitting with these photos of the person; what starts from the reference starts from the first.

    Raises:
        UsageError: for more than MAX_REFERENCES photos.
    """
    if len(photos) > MAX_REFERENCES:
        raise UsageError(
            f"{len(photos)} photos are too many; use up to {MAX_REFERENCES}, the sharpest ones. "
            "Remove some first."
        )
    return _following(replace(sitting, references=tuple(photos), filed=None, locked=None), look)


def with_file(sitting: Sitting, file: IdentityFile, look: Look) -> Sitting:
    """The sitting with the person of an identity file instead of photos; an encrypted one waits for its passphrase.

    Raises:
        InputError: if it cannot be used, or the passphrase is another.
    """
    if file.locked and not file.passphrase:
        return replace(sitting, locked=file)
    filed = Filed(file.mark, unlocked(file, look.eyes))
    return _following(replace(sitting, references=(), filed=filed, locked=None), look)


def _following(sitting: Sitting, look: Look) -> Sitting:
    """The sitting with everything that starts from the person starting from the one who is there now."""
    first = look.reference(sitting)
    kinds = [kind for kind in ("pose", "expression") if getattr(sitting, kind).name == REFERENCE]
    return replace(sitting, identity=first.start.params, **dict.fromkeys(kinds, first))


def with_source(sitting: Sitting, source: Source, *kinds: str) -> Sitting:
    """The sitting with "pose", "expression" or both starting from `source`."""
    chosen = dict.fromkeys(kinds, source)
    kept = {f"{kind}_photo": source for kind in kinds} if source.name == PHOTO else {}
    return replace(sitting, **chosen, **kept)


def with_face(sitting: Sitting, photo: int, face: int, look: Look) -> Sitting:
    """The sitting with another face chosen in a reference photo.

    Raises:
        UsageError: if there is no such photo or face.
    """
    photos = list(sitting.references)
    if not (0 <= photo < len(photos) and 0 <= face < len(photos[photo].faces)):
        raise UsageError("That face is no longer on the page. Choose one of those shown.")
    photos[photo] = replace(photos[photo], chosen=face)
    return with_references(sitting, photos, look)
