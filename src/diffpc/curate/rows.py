"""What became of a photo, as a row of a table."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from diffpc.curate.record import Record, Reject, Square, needed
from diffpc.curate.stages import jpeg
from diffpc.images import resize
from diffpc.types import FaceParams, Image

THUMBNAIL = 128
"""Greatest side in pixels of what is kept of a reject's photo, for the contact sheets."""

PARAMS = ("shape", "expression", "eyelid", "jaw", "rotation", "camera")
ANGLES = ("yaw", "pitch", "roll")

_FLOATS = pa.list_(pa.float32())

PHOTO_FIELDS = pa.schema(
    [
        ("source_key", pa.string()),
        ("person", pa.string()),
        ("url", pa.string()),
        ("sha256", pa.string()),
        ("photo_size", pa.list_(pa.int32())),
        ("square", pa.list_(pa.int32())),
        ("face_box", _FLOATS),
        ("landmarks", _FLOATS),
        ("landmark_layout", pa.string()),
        ("detector_score", pa.float32()),
        ("face_share", pa.float32()),
        ("quality", pa.float32()),
        *((name, pa.float32()) for name in ANGLES),
        *((name, _FLOATS) for name in PARAMS),
        ("place", _FLOATS),
        ("measures", pa.map_(pa.string(), pa.float32())),
        ("attributes", pa.map_(pa.string(), pa.string())),
        ("fingerprint", pa.uint64()),
        ("embedding", _FLOATS),
    ]
)
"""What is known of a kept photo. photo_size: width, height; square: left, top, side in photo pixels; face_box (x0,
y0, x1, y1), landmarks (x, y of five points) and the 3D face are in pixels of the picture; place: the 3D face's crop
(centre x, y, size, resolution) and frame (width, height), as `train.examine.flat_params` has it; angles in degrees."""

ORIGIN_FIELDS = [PHOTO_FIELDS.field(name) for name in ("source_key", "person", "url")]

REJECT_FIELDS = pa.schema(
    [*ORIGIN_FIELDS, ("stage", pa.string()), ("reason", pa.string()), ("detail", pa.string())]
)
"""Of rejects.parquet."""

PART_FIELDS = pa.schema(
    [*PHOTO_FIELDS, ("picture", pa.binary()), *list(REJECT_FIELDS)[3:], ("thumbnail", pa.binary())]
)
"""Kept photos and rejects in one table; the columns of the other kind are null."""


def photo_row(record: Record, size: int) -> dict[str, Any]:
    """A kept photo as a row of PART_FIELDS.

    Args:
        record: after all stages.
        size: side of its picture in pixels.
    """
    image, square = needed(record.image, "image"), needed(record.square, "square")
    face, params = needed(record.face, "face"), needed(record.params, "3D face")
    corners = np.array(face.box, np.float64).reshape(2, 2)
    return {
        **_origin(record),
        "sha256": hashlib.sha256(record.content).hexdigest(),
        "photo_size": [image.shape[1], image.shape[0]],
        "square": [square.left, square.top, square.side],
        "face_box": to_picture(corners, square, size).flatten(),
        "landmarks": to_picture(face.landmarks, square, size).flatten(),
        "landmark_layout": face.layout,
        "detector_score": face.score,
        "face_share": face.area / square.side**2,
        "quality": record.quality,
        **{name: record.measures[name] for name in ANGLES},
        **{name: getattr(params, name).numpy() for name in PARAMS},
        "place": _place(params, square, size),
        "measures": sorted(record.measures.items()),
        "attributes": sorted(record.listed.attributes.items()),
        "fingerprint": needed(record.fingerprint, "fingerprint"),
        "embedding": needed(record.embedding, "embedding"),
        "picture": needed(record.picture, "picture"),
    }


def reject_row(reject: Reject) -> dict[str, Any]:
    """A reject as a row of PART_FIELDS."""
    return {
        **_origin(reject),
        "stage": reject.stage,
        "reason": reject.reason,
        "detail": reject.detail,
        "thumbnail": None if reject.image is None else thumbnail(reject.image),
    }


def thumbnail(image: Image) -> bytes:
    """A small JPEG of the whole photo."""
    factor = min(1.0, THUMBNAIL / max(image.shape[:2]))
    width, height = (max(1, round(side * factor)) for side in (image.shape[1], image.shape[0]))
    return jpeg(resize(image, width, height), 80)


def to_picture(points: Float[np.ndarray, "N 2"], square: Square, size: int) -> Float[np.ndarray, "N 2"]:
    """Photo pixels -> pixels of the picture of size x size; pixel centres at integers in both."""
    return (points + 0.5 - [square.left, square.top]) * (size / square.side) - 0.5


def _origin(one: Record | Reject) -> dict[str, str]:
    listed = one.listed
    return {"source_key": listed.key, "person": listed.person, "url": listed.address}


def _place(params: FaceParams, square: Square, size: int) -> list[float]:
    """The 3D face's crop on the picture, which becomes its frame."""
    x, y = to_picture(np.array([params.crop.centre]), square, size)[0].tolist()
    resolution, frame = float(params.crop.resolution), float(size)
    return [x, y, params.crop.size * size / square.side, resolution, frame, frame]
