"""A person in one file, to draw portraits without the photos: biometric data, encrypted if a passphrase is given.

Safetensors with the features that an ID-Encoder reads, the 3D face, and three small pictures of it. Metadata: one
entry, "diffpc-identity", of JSON with the keys format, marks (what the features depend on), photos, crop and frame.
No adapter is named: the file serves every model that looks at faces with the same networks. With a passphrase these
bytes are sealed (`sealed.py`).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.face3d.model import Sizes
from diffpc.face3d.skin import Skin
from diffpc.files import atomic_write
from diffpc.identity.reference import ReferenceFeatures
from diffpc.person import Person, PhotoReport
from diffpc.portrait import Identity
from diffpc.sealed import MAGIC, is_sealed, seal, unseal
from diffpc.types import Crop, FaceParams

SUFFIX = ".safetensors"
"""Of an identity's file; `me.identity.safetensors` by custom."""

FORMAT = 2
"""Of the metadata."""

ENTRY = "diffpc-identity"
"""Of the metadata."""

MAX_BYTES = 64 * 2**20
"""Of the file; ViT-H's patch features have 1.3 MB."""

MAX_PHOTOS = 1000
"""In the report."""

MAX_SIDE = 1024
"""Of the pictures, pixels."""

MAX_NUMBER = 1e9
"""In the metadata; not a number is not below it either."""

VECTORS = ("shape", "expression", "eyelid", "jaw", "rotation", "camera")
"""Tensors of the 3D face, with one dimension."""

PICTURES = ("aligned", "cut", "skin")
"""uint8, H x W x 3."""

ENVIRONMENT = "DIFFPC_PASSPHRASE"
"""Variable that the commands take a passphrase from."""

_REMEDY = "copy it again, or make it again with `diffpc identity create`"

_SHAPES: dict[str, Callable[[tuple[int, ...]], bool]] = {
    "global_vector": lambda shape: len(shape) == 3 and shape[:2] == (1, 1),
    "patches": lambda shape: len(shape) == 3 and shape[0] == 1 and shape[1] > 0,
    **dict.fromkeys((*VECTORS, "facing"), lambda shape: len(shape) == 1),
    "points": lambda shape: len(shape) == 2 and shape[1] == 2,
    **dict.fromkeys(PICTURES, lambda shape: len(shape) == 3 and shape[2] == 3 and _drawable(shape)),
}


@dataclass(frozen=True)
class StoredPerson:
    """What a file holds."""

    person: Person
    marks: dict[str, str]
    """`Eyes.marks` of the eyes that saw the photos."""


def save_identity(person: Person, eyes: Eyes, path: Path | str, passphrase: str | None = None) -> None:
    """Write a person, for `load_identity`; without a passphrase the same person gives the same bytes.

    Args:
        person: from `person.gathered`.
        eyes: that saw the photos.
        path: ends in .safetensors.
        passphrase: to encrypt with; None writes it in the clear.

    Raises:
        UsageError: if the path ends otherwise, or the passphrase is empty.
        InputError: if it cannot be written.
    """
    path = Path(path)
    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: choose a name that ends in {SUFFIX}, such as me.identity{SUFFIX}")
    params = person.identity.params
    described = {
        "format": FORMAT,
        "marks": eyes.marks,
        "photos": [asdict(one) for one in person.photos],
        "crop": [*params.crop.centre, params.crop.size, params.crop.resolution],
        "frame": list(params.frame),
    }
    text = json.dumps(described, sort_keys=True, allow_nan=False)
    content = safetensors.torch.save(_tensors(person.identity), metadata={ENTRY: text})
    with atomic_write(path) as stream:
        stream.write(content if passphrase is None else seal(content, passphrase))
    path.chmod(0o600)  # whoever else has an account here need not read it


def load_identity(path: Path | str, eyes: Eyes, passphrase: str | None = None) -> Person:
    """The person of a file that `save_identity` wrote.

    Args:
        path: the file.
        eyes: of the model that is to draw; they must see as those that made the file.
        passphrase: of an encrypted file.

    Raises:
        UsageError: if the file is encrypted and there is no passphrase.
        InputError: if it is missing, damaged, of another kind, or was made with other networks.
    """
    stored = read_identity(path, passphrase)
    check_identity(stored, eyes, Path(path))
    return stored.person


def is_encrypted(path: Path | str) -> bool:
    """Whether a file needs a passphrase.

    Raises:
        InputError: if it cannot be read.
    """
    try:
        with Path(path).open("rb") as stream:
            return is_sealed(stream.read(len(MAGIC)))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from error


def read_identity(path: Path | str, passphrase: str | None = None) -> StoredPerson:
    """The person of a file, whichever networks made it.

    Raises:
        UsageError: if it is encrypted and there is no passphrase.
        InputError: if it is missing, damaged or of another kind.
    """
    path = Path(path)
    data = _bounded(path)
    if is_sealed(data):
        if passphrase is None:
            raise UsageError(
                f"{path}: is encrypted; set {ENVIRONMENT} to its passphrase, or run on a terminal"
            )
        data = unseal(data, passphrase, str(path))
    return decode_identity(data, str(path))


def decode_identity(data: bytes, name: str) -> StoredPerson:
    """The person of a file's bytes, decrypted; `name` is what messages call it.

    Raises:
        InputError: if they are damaged or of another kind.
    """
    try:
        # Copies: in the file's bytes tensors lie at odd addresses, where products add in another order.
        tensors = {key: value.clone() for key, value in safetensors.torch.load(data).items()}
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        values = json.loads(header["__metadata__"][ENTRY])
    except (SafetensorError, ValueError, LookupError, TypeError, RecursionError, OverflowError) as error:
        raise InputError(
            f"{name}: holds no identity; give a file that `diffpc identity create` wrote"
        ) from error
    _check_description(values, name)
    _check_tensors(tensors, name)
    return StoredPerson(_person(tensors, values), values["marks"])


def check_identity(stored: StoredPerson, eyes: Eyes, path: Path) -> None:
    """Refuse a person that other networks saw.

    Raises:
        InputError: naming what differs.
    """
    for kind, mine in eyes.marks.items():
        if stored.marks.get(kind) != mine:
            found, wanted = (_short(value) for value in (stored.marks.get(kind, "none"), mine))
            raise InputError(
                f"{path}: was made with {kind} {found}, this model has {wanted}; make it again from the photos "
                "with `diffpc identity create` and this --model"
            )
    identity = stored.person.identity
    features, params, skin = identity.features, identity.params, identity.skin
    found = (features.global_vector.shape[-1], features.patches.shape[-1])
    wanted = (eyes.tools.embedder.dimension, eyes.tools.local.width)
    sizes = Sizes(len(params.shape), len(params.expression), len(params.eyelid), len(params.jaw))
    n_vertices = eyes.model.vertices(eyes.model.expressed({})).world.shape[1]
    whole = len(skin.points) == len(skin.facing) == n_vertices
    if found != wanted or sizes != eyes.model.sizes or not whole:
        raise InputError(f"{path}: its features have other sizes than the model's; {_REMEDY}")


def _tensors(identity: Identity) -> dict[str, Tensor]:
    features, params, skin = identity.features, identity.params, identity.skin
    found = {name: getattr(params, name) for name in VECTORS}
    found |= {"global_vector": features.global_vector, "patches": features.patches}
    found |= {"points": skin.points, "facing": skin.facing}
    pictures = {"aligned": features.aligned, "cut": features.cut, "skin": skin.picture}
    found = {name: value.detach().cpu().float().contiguous() for name, value in found.items()}
    return found | {name: torch.from_numpy(picture.copy()) for name, picture in pictures.items()}


def _person(tensors: dict[str, Tensor], values: dict[str, Any]) -> Person:
    x, y, size, resolution = values["crop"]
    width, height = values["frame"]
    params = FaceParams(
        **{name: tensors[name] for name in VECTORS},
        crop=Crop((float(x), float(y)), float(size), resolution),
        frame=(width, height),
    )
    aligned, cut, skin = (tensors[name].numpy() for name in PICTURES)
    features = ReferenceFeatures(tensors["global_vector"], tensors["patches"], aligned, cut)
    photos = tuple(PhotoReport(**one) for one in values["photos"])
    identity = Identity(features, params, Skin(skin, tensors["points"], tensors["facing"]))
    return Person(identity, photos)


def _bounded(path: Path) -> bytes:
    if not path.is_file():
        raise InputError(f"{path}: no such identity file; check the path")
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); {_REMEDY}") from error
    if len(data) > MAX_BYTES:
        raise InputError(f"{path}: has more than {MAX_BYTES // 2**20} MiB, which no identity has; {_REMEDY}")
    return data


def _check_tensors(tensors: dict[str, Tensor], name: str) -> None:
    """The right names, types and dimensions, and numbers only."""
    if set(tensors) != set(_SHAPES):
        odd = sorted(set(tensors) ^ set(_SHAPES))[0]
        raise InputError(f"{name}: tensor {odd!r} is missing or unknown; {_REMEDY}")
    for key, value in tensors.items():
        kind = torch.uint8 if key in PICTURES else torch.float32
        if value.dtype != kind or not _SHAPES[key](tuple(value.shape)) or not value.isfinite().all():
            raise InputError(
                f"{name}: {key} is {value.dtype} of {list(value.shape)}, or not finite; {_REMEDY}"
            )
    length = float(tensors["global_vector"].norm())
    if abs(length - 1) > 1e-3 or tensors["rotation"].shape != (3,) or tensors["camera"].shape != (3,):
        raise InputError(f"{name}: its face vector or its pose is none (length {length:.3g}); {_REMEDY}")
    if float(tensors["camera"][0]) <= 0:
        raise InputError(f"{name}: the camera's scale is not positive; {_REMEDY}")


def _check_description(values: Any, name: str) -> None:
    """Keys, types and ranges of the metadata."""
    if not isinstance(values, dict):
        raise InputError(f"{name}: its description is not a JSON object; {_REMEDY}")
    found = cast(dict[str, Any], values)
    if found.get("format") != FORMAT:
        raise InputError(
            f"{name}: has format {found.get('format')!r}, expected {FORMAT}; use the diffpc it is from"
        )
    checks: dict[str, Callable[[Any], bool]] = {
        "marks": _is_texts,
        "photos": _is_reports,
        "crop": lambda value: _is_numbers(value, 4) and value[2] > 0 and _is_side(value[3]),
        "frame": lambda value: _is_numbers(value, 2) and all(map(_is_side, value)),
    }
    for key, check in checks.items():
        if not check(found.get(key)):
            raise InputError(f"{name}: its description has no usable {key}; {_REMEDY}")


def _is_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, str) for one in cast(dict[str, Any], value).values()
    )


def _is_reports(value: Any) -> bool:
    if not isinstance(value, list) or len(cast(list[Any], value)) > MAX_PHOTOS:
        return False
    return all(_is_report(one) for one in cast(list[Any], value))


def _is_report(value: Any) -> bool:
    if not isinstance(value, dict) or set(cast(dict[str, Any], value)) != {
        one.name for one in fields(PhotoReport)
    }:
        return False
    found = cast(dict[str, Any], value)
    numbers = all(found[key] is None or _is_numbers([found[key]], 1) for key in ("quality", "distance"))
    return numbers and isinstance(found["name"], str) and isinstance(found["fault"], str | None)


def _is_numbers(value: Any, count: int) -> bool:
    if not isinstance(value, list) or len(cast(list[Any], value)) != count:
        return False
    return all(type(one) in (int, float) and abs(one) < MAX_NUMBER for one in cast(list[Any], value))


def _is_side(value: Any) -> bool:
    return type(value) is int and 1 < value <= 2**16


def _drawable(shape: tuple[int, ...]) -> bool:
    return 0 < min(shape[:2]) <= max(shape[:2]) <= MAX_SIDE


def _short(mark: str) -> str:
    """A mark with as much of its sha256 as people compare."""
    name, _, digest = mark.partition(" ")
    return f"{name} {digest[:8]}".strip()
