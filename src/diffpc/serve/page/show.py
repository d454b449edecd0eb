"""What the page shows, as HTML: every text of a visitor's is escaped, every picture has words."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from html import escape

from diffpc.images import resize
from diffpc.serve.page.canvas import jpeg
from diffpc.serve.page.controls import ExpressionSliders, PoseSliders
from diffpc.serve.page.sitting import Filed, Photo
from diffpc.types import Image

THUMBNAIL = 360
"""Longest side of a reference photo on the page, in pixels."""


def data_uri(data: bytes, kind: str = "jpeg") -> str:
    """A picture inside the page: it is never a file."""
    return f"data:image/{kind};base64,{b64encode(data).decode()}"


def note(text: str, kind: str = "error") -> str:
    """A sentence where the person looks; empty text takes it away. `kind`: error, hint or done."""
    role = "alert" if kind == "error" else "status"
    return f'<p class="note {kind}" role="{role}">{escape(text)}</p>' if text else ""


def people(photos: Sequence[Photo], filed: Filed | None = None) -> str:
    """The reference photos with their faces outlined; each face is a button that chooses it. Or an identity file."""
    items = [_person(number, photo) for number, photo in enumerate(photos)]
    items += [_filed(filed)] if filed else []
    return f'<ul class="people">{"".join(items)}</ul>' if items else ""


def canvas(picture: Image, words: str) -> str:
    """The live 3D face."""
    source = data_uri(jpeg(picture))
    height, width = picture.shape[:2]
    return (
        f'<figure class="canvas"><img src="{source}" width="{width}" height="{height}" decoding="sync" '
        f'alt="{escape(words)}"></figure>'
    )


def in_words(pose: PoseSliders, expression: ExpressionSliders) -> str:
    """What the 3D face does, for whoever does not see it."""
    words = [
        _turned(pose.yaw, "turned {} degrees to the left", "turned {} degrees to the right"),
        _turned(pose.pitch, "looking {} degrees down", "looking {} degrees up"),
        _turned(pose.roll, "tilted {} degrees anticlockwise", "tilted {} degrees clockwise"),
        _done(expression.mouth, "", "mouth open"),
        _done(expression.smile, "corners of the mouth down", "smiling"),
        _done(expression.brows, "brows lowered", "brows raised"),
        _done(expression.eyes, "eyes narrowed", "eyes wide"),
    ]
    return "3D face: " + (", ".join(filter(None, words)) or "frontal and relaxed")


def thumbnail(image: Image, longest: int = THUMBNAIL) -> bytes:
    """A small JPEG of a picture."""
    height, width = image.shape[:2]
    scale = min(1.0, longest / max(height, width))
    return jpeg(resize(image, max(1, round(width * scale)), max(1, round(height * scale))))


def _person(number: int, photo: Photo) -> str:
    name = escape(photo.name)
    faces = "".join(_outline(number, index, photo) for index in range(len(photo.faces)))
    several = " Click the right face." if len(photo.faces) > 1 else ""
    return (
        f'<li><div class="photo"><img src="{data_uri(thumbnail(photo.image))}" alt="Reference photo {name}">'
        f"{faces}</div>"
        f'<span class="name" title="{name}">{name}{several}</span>'
        f'<button type="button" class="quiet" data-remove="{number}" aria-label="Remove {name}">Remove</button></li>'
    )


def _filed(filed: Filed) -> str:
    name, picture = escape(filed.mark[0]), thumbnail(filed.identity.features.cut)
    return (
        f'<li><div class="photo"><img src="{data_uri(picture)}" alt="The person of {name}"></div>'
        f'<span class="name" title="{name}">{name}</span>'
        f'<button type="button" class="quiet" data-remove="file" aria-label="Remove {name}">Remove</button></li>'
    )


def _outline(number: int, index: int, photo: Photo) -> str:
    height, width = photo.image.shape[:2]
    x0, y0, x1, y1 = photo.faces[index].box
    place = {
        "left": x0 / width,
        "top": y0 / height,
        "width": (x1 - x0) / width,
        "height": (y1 - y0) / height,
    }
    style = ";".join(f"{side}:{100 * value:.2f}%" for side, value in place.items())
    pressed = "true" if index == photo.chosen else "false"
    words = f"Face {index + 1} of {len(photo.faces)} in {escape(photo.name)}"
    return (
        f'<button type="button" class="face" style="{style}" data-photo="{number}" data-face="{index}" '
        f'aria-pressed="{pressed}" aria-label="{words}" title="{words}"></button>'
    )


def _turned(degrees: float, negative: str, positive: str) -> str:
    return (positive if degrees > 0 else negative).format(f"{abs(degrees):.0f}") if round(degrees) else ""


def _done(value: float, negative: str, positive: str) -> str:
    return (positive if value > 0 else negative) if abs(value) >= 0.1 else ""
