"""The stages that look at one photo alone: each is a pure function of the record, the tools and the settings."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from io import BytesIO
from typing import TypeAlias

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image as PILImage

from diffpc.curate.alike import perceptual_hash
from diffpc.curate.record import Box, Listed, Record, Reject, Square, needed
from diffpc.curate.squares import TRIES, black_border, drawn_squares, side_range
from diffpc.curate.text import touches
from diffpc.curate.tools import Tools
from diffpc.errors import InputError
from diffpc.face3d.pose import euler_degrees
from diffpc.faces.align import align
from diffpc.faces.embed import FaceEmbedder
from diffpc.faces.quality import face_measures
from diffpc.images import decode_image, resize
from diffpc.tensors import to_tensor
from diffpc.types import FaceParams, Image

Outcome: TypeAlias = "Record | Reject"
Stage: TypeAlias = Callable[[Record, Tools], Outcome]

LISTED_OVERLAP = 0.2
"""Least share of their common area that a found face and the list's rectangle have: the rectangles are rough."""

TEXT_REACH = 1.4
"""Side of the region searched for text, in sides of the face's box: text that only touches the face counts."""

BLENDSHAPES = {
    "smile": ("mouthSmileLeft", "mouthSmileRight"),
    "mouth_open": ("jawOpen",),
    "eyes_closed": ("eyeBlinkLeft", "eyeBlinkRight"),
}
"""Measure -> the expression's coefficients whose mean it is, where the face model names them."""


def decode(record: Record, tools: Tools) -> Outcome:
    """The file's pixels; `undecodable` where images.py refuses it."""
    del tools
    try:
        return replace(record, image=decode_image(record.content, record.listed.key))
    except InputError as error:
        return Reject(record.listed, "undecodable", str(error))


def find_face(record: Record, tools: Tools) -> Outcome:
    """The only face; `no_face`, `several_faces`, or `other_face` where the list means another one."""
    image = needed(record.image, "image")
    faces = list(tools.detector(image))
    if not faces:
        return _refused(record, "no_face", f"no face found (tried: {tools.detector.tried})")
    if len(faces) > 1:
        return _refused(record, "several_faces", f"{len(faces)} faces")
    wanted = listed_box(record.listed, (image.shape[1], image.shape[0]))
    if wanted and (share := overlap(faces[0].box, wanted)) < LISTED_OVERLAP:
        return _refused(record, "other_face", f"the face and the list's rectangle overlap by {share:.2f}")
    return replace(record, face=faces[0])


def choose_square(record: Record, tools: Tools) -> Outcome:
    """A randomly enlarged square about the face; `no_room`, `small` or `border`."""
    image, box, settings = needed(record.image, "image"), needed(record.face, "face").box, tools.settings
    frame = (image.shape[1], image.shape[0])
    if min(frame) < settings.side:
        return _refused(record, "small", f"{frame[0]} x {frame[1]} px, less than {settings.side}")
    low, high = side_range(box, frame, settings)
    if low > high:
        detail = f"the face of {box[2] - box[0]:.0f} px needs a square of {low:.0f} px, there is {high:.0f}"
        return _refused(record, "no_room", detail)
    draw = random.Random(f"{settings.seed}:{record.listed.key}")
    shares: list[float] = []
    for square in drawn_squares(box, frame, (low, high), draw):
        shares.append(black_border(image, square) if settings.border < 1 else 0.0)
        if shares[-1] <= settings.border:
            return replace(record, square=square, measures={**record.measures, "black_border": shares[-1]})
    return _refused(
        record, "border", f"{min(shares):.3f} of the border is black in the best of {TRIES} squares"
    )


def read_face(record: Record, tools: Tools) -> Outcome:
    """Who it is and how the head is held: embedding, 3D face, measures; `unreadable_face`."""
    image, face = needed(record.image, "image"), needed(record.face, "face")
    params = tools.predictor(image, face)
    chip = align(image, face, tools.embedder.template).pixels
    embedding = _embedded(chip, tools.embedder)
    measures = {
        **record.measures,
        **face_measures(chip, face),
        **_expression(params, tools),
        **vars(euler_degrees(params.rotation)),
    }
    if not np.isfinite([*embedding, *measures.values()]).all():
        return _refused(record, "unreadable_face", "the networks give no finite numbers for this face")
    return replace(record, params=params, embedding=embedding, measures=measures)


def judge_quality(record: Record, tools: Tools) -> Outcome:
    """Face quality; `low_quality`."""
    quality = tools.quality(record)
    if quality < tools.settings.quality:
        return _refused(record, "low_quality", f"quality {quality:.2f}, less than {tools.settings.quality:g}")
    return replace(record, quality=quality)


def look_for_text(record: Record, tools: Tools) -> Outcome:
    """`text_on_face` where text touches the face's box."""
    image, box = needed(record.image, "image"), needed(record.face, "face").box
    reach = (TEXT_REACH - 1) / 2 * (box[2] - box[0])
    left, top = (max(0, int(box[axis] - reach)) for axis in (0, 1))
    region = image[top : int(box[3] + reach) + 1, left : int(box[2] + reach) + 1]
    for (x0, y0, x1, y1), text in tools.text(region):
        if touches((x0 + left, y0 + top, x1 + left, y1 + top), box):
            return _refused(record, "text_on_face", f"{text[:40]!r} is written on the face")
    return record


def draw_picture(record: Record, tools: Tools) -> Outcome:
    """The square at the wanted size as a JPEG, and the photo's fingerprint."""
    image, square = needed(record.image, "image"), needed(record.square, "square")
    size = tools.settings.size
    picture = resize(cut(image, square), size, size)
    return replace(record, picture=jpeg(picture, tools.settings.jpeg), fingerprint=perceptual_hash(image))


STAGES: Mapping[str, Stage] = {
    "decode": decode,
    "face": find_face,
    "crop": choose_square,
    "read": read_face,
    "quality": judge_quality,
    "text": look_for_text,
    "picture": draw_picture,
}
"""In their order: what costs little and refuses much comes first."""


def cut(image: Image, square: Square) -> Image:
    """The square's pixels."""
    rows, columns = slice(square.top, square.top + square.side), slice(square.left, square.left + square.side)
    return image[rows, columns]


def jpeg(image: Image, quality: int) -> bytes:
    """A JPEG file with whole colour (4:4:4); the same image gives the same bytes."""
    stream = BytesIO()
    PILImage.fromarray(image).save(stream, "JPEG", quality=quality, subsampling=0)
    return stream.getvalue()


def listed_box(listed: Listed, frame: tuple[int, int]) -> Box | None:
    """The list's rectangle in pixels of the photo as it is, whose size may differ from the list's."""
    if listed.rect is None:
        return None
    width, height = listed.rect_frame or frame
    x, y = frame[0] / width, frame[1] / height
    x0, y0, x1, y1 = listed.rect
    return x0 * x, y0 * y, x1 * x, y1 * y


def overlap(first: Box, second: Box) -> float:
    """Intersection over union of two boxes."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    common = max(0.0, width) * max(0.0, height)
    both = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (first, second))
    return common / (both - common) if both > common else 0.0


@torch.no_grad()
def _embedded(chip: Image, embedder: FaceEmbedder) -> Float[np.ndarray, " D"]:
    """The raw vector of an aligned face; `faces.embed.embed_faces` would align it a second time."""
    values = to_tensor(chip)[None].to(embedder.device)
    return embedder.embed_chips(values)[0].cpu().numpy().astype(np.float32)


def _expression(params: FaceParams, tools: Tools) -> Mapping[str, float]:
    names: tuple[str, ...] = getattr(tools.model, "expression_names", ())
    values = params.expression.tolist()
    return {
        measure: float(np.mean([values[names.index(part)] for part in parts]))
        for measure, parts in BLENDSHAPES.items()
        if all(part in names for part in parts)
    }


def _refused(record: Record, reason: str, detail: str) -> Reject:
    return Reject(record.listed, reason, detail, record.image)
