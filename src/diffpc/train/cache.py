"""What is constant per training photo, computed once: latents, landmarks, reference features, the 3D face.

A cache is a folder of parts, each a safetensors file that appears by one rename and tells which photos it holds
and which it refused. A build that was killed goes on with the first part that is missing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast, get_args

import safetensors.torch
import torch
from diffusers import AutoencoderKL
from jaxtyping import Float, Float16, Float32, UInt8
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.nn import functional

from diffpc.diffusion.backbone import downscale
from diffpc.errors import InputError, UsageError
from diffpc.eyes import Eyes
from diffpc.face3d.skin import Skin
from diffpc.files import asset, atomic_write
from diffpc.photos import Photo
from diffpc.tensors import to_tensor
from diffpc.train.examine import Examined, Refused, examine, flat_params, full_params
from diffpc.train.features import latents_of
from diffpc.train.settings import CacheSettings
from diffpc.types import FaceParams, LandmarkLayout, Say
from diffpc.weights import fingerprint, sha256

INDEX = "cache.json"
REJECTS = "rejects.jsonl"

_FORMAT = 3
"""Counts up when the same photos and settings give other values than before."""

_CONTENTS = "contents"
"""The one entry of a part's metadata: the order of several would be random."""

_SHIPPED = ("light_face", "light_predictor")
"""Weights that every predictor uses and that may change with the package."""

_REMEDY = "remove the folder and run again to build it anew"


@dataclass(frozen=True)
class CacheTools:
    """The frozen parts of the model."""

    eyes: Eyes
    vae: AutoencoderKL
    """In float32: a whole training sees what it encodes."""
    weights: Mapping[str, str]
    """Name -> sha256 of the weight files that `eyes` loads from outside the package."""


@dataclass(frozen=True)
class CachedPhoto:
    """One photo as training sees it."""

    latent: Float16[Tensor, "C h w"]
    """Posterior mode of the training picture, times the scaling factor."""
    z_3d: Float16[Tensor, "C h w"]
    """The same of I_3d with the photo's own shape, expression and pose."""
    face: UInt8[Tensor, "h w"]
    """1 where the latents show the face and what is next to it, else 0."""
    landmarks: Float32[Tensor, "5 2"]
    """Pixels of the training picture, in the order of `Cache.layout`."""
    crop: UInt8[Tensor, "3 R R"]
    """The photo as a reference: what the local features see, without the background."""
    vector: Float32[Tensor, "1 d1"]
    """F_global, L2-normalised."""
    shape: Float32[Tensor, " shape"]
    expression: Float32[Tensor, " expression"]
    eyelid: Float32[Tensor, " eyelid"]
    jaw: Float32[Tensor, " jaw"]
    rotation: Float32[Tensor, " 3"]
    camera: Float32[Tensor, " 3"]
    place: Float32[Tensor, " 6"]
    """With the six above: see `examine.flat_params`."""
    skin: UInt8[Tensor, "3 K K"] | None = None
    """Of the photo as a reference, if the cache holds it: `face3d.skin.Skin` with the next two."""
    points: Float32[Tensor, "V 2"] | None = None
    facing: Float32[Tensor, " V"] | None = None
    patches: Float16[Tensor, "L d2"] | None = None
    """F_local, if the cache holds it."""
    picture: UInt8[Tensor, "3 S S"] | None = None
    """The training picture, if the cache holds it."""

    def params(self) -> FaceParams:
        """The 3D face on the training picture."""
        return full_params(vars(self))

    def known_skin(self) -> Skin:
        """Of the photo as a reference.

        Raises:
            UsageError: if the cache does not hold it.
        """
        if self.skin is None or self.points is None or self.facing is None:
            raise UsageError("the cache holds no skin; build it with --cache.skin true")
        return Skin(self.skin.permute(1, 2, 0).numpy(), self.points, self.facing)


@dataclass(frozen=True)
class Crew:
    """The processes that build one cache together."""

    rank: int = 0
    """Number of this one."""
    world: int = 1
    """How many there are."""
    wait: Callable[[], None] = lambda: None
    """Returns when all have called it."""


def build_cache(
    photos: Sequence[Photo],
    tools: CacheTools,
    settings: CacheSettings,
    folder: Path | str,
    report: Say,
    crew: Crew | None = None,
) -> Cache:
    """Compute what is missing and open the cache, a subfolder named after a hash of photos, settings and weights.

    Captions and persons are not in it: they may change, photos are found by their keys. A photo is known by key
    and length. Only processes of one crew may build the same cache at the same time.

    Args:
        photos: as `read_photos` gives them.
        tools: the frozen networks.
        settings: sizes and rules.
        folder: of any number of caches: that of another model or setting is another one.
        report: takes a line after each part.
        crew: whose processes share the work; by default this one is alone.

    Raises:
        UsageError: if the settings or the VAE's number type do not fit.
        InputError: if a photo's bytes are gone, all photos are refused, or the folder cannot be written.
    """
    _check(photos, tools, settings)
    crew = crew or Crew()
    index = _index_of(photos, tools, settings)
    place = Path(folder) / index["digest"][:16]
    if crew.rank == 0 and not (place / INDEX).exists():
        _write(place / INDEX, json.dumps(index, indent=1).encode())
    crew.wait()
    if _read_index(place) != index:
        raise InputError(f"{place / INDEX}: is not of these photos, settings and weights; {_REMEDY}")
    files = _part_files(place, index)
    for number in range(crew.rank, len(files), crew.world):
        if _contents(files[number]) is None:
            share = photos[number * settings.part : (number + 1) * settings.part]
            refused = _write_part(files[number], share, tools, settings)["rejects"]
            report(f"part {number + 1} of {len(files)}: {len(share)} photos examined, {len(refused)} refused")
    crew.wait()
    if crew.rank == 0:
        _report_rejects(place, files, len(photos), report)
    return Cache(place)


def _report_rejects(place: Path, files: Sequence[Path], count: int, report: Say) -> None:
    """Write together what the parts refused."""
    rejects = [line for file in files for line in (_contents(file) or {"rejects": []})["rejects"]]
    _write(place / REJECTS, "".join(json.dumps(line) + "\n" for line in rejects).encode())
    if rejects:
        report(f"{len(rejects)} of {count} photos refused; {place / REJECTS} says why")


class Cache:
    """A complete cache; rows are views of memory-mapped files, read when they are used."""

    def __init__(self, folder: Path | str) -> None:
        """Open the folder that `build_cache` made below the one it was given.

        Raises:
            InputError: if it is missing, not complete, damaged or without a photo.
        """
        self.folder = Path(folder)
        self.keys: list[str] = []
        """Of the accepted photos, by row."""
        self._places: list[tuple[Path, int]] = []
        self._open: dict[Path, dict[str, Tensor]] = {}
        layouts: set[str] = set()
        for file in _part_files(self.folder, _read_index(self.folder)):
            contents = _contents(file)
            if contents is None:
                raise InputError(f"{file}: is missing or damaged; run the same command again to complete it")
            self._places += [(file, row) for row in range(len(contents["keys"]))]
            self.keys += contents["keys"]
            layouts.update(contents["layouts"])
        if not self.keys:
            raise InputError(f"{self.folder}: all photos were refused; {REJECTS} there says why")
        self.layout: LandmarkLayout = _only_layout(layouts, self.folder)
        """Of the landmarks."""
        self.rows = {key: row for row, key in enumerate(self.keys)}
        """Key -> row."""

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, row: int) -> CachedPhoto:
        file, place = self._places[row]
        part = self._part(file)
        return CachedPhoto(**{name: values[place] for name, values in part.items()})

    def __getstate__(self) -> dict[str, Any]:  # every process of a data loader maps the files itself
        return {**vars(self), "_open": {}}

    @property
    def names(self) -> list[str]:
        """The fields that it holds."""
        return sorted(self._part(self._places[0][0]))

    def column(self, name: str) -> Tensor:
        """One field of all photos, by row.

        Raises:
            UsageError: if the cache does not hold it.
        """
        if name not in self.names:
            raise UsageError(f"the cache holds no {name!r}; choose one of: {', '.join(self.names)}")
        files = dict.fromkeys(file for file, _ in self._places)
        return torch.cat([self._part(file)[name] for file in files])

    def _part(self, file: Path) -> dict[str, Tensor]:
        if file not in self._open:
            self._open[file] = safetensors.torch.load_file(file)  # maps the file: nothing is read yet
        return self._open[file]


def _check(photos: Sequence[Photo], tools: CacheTools, settings: CacheSettings) -> None:
    step = downscale(tools.vae)
    if settings.size < step or settings.size % step:
        raise UsageError(f"size {settings.size} does not fit the VAE; choose a multiple of {step}")
    if not 0 <= settings.spread <= 1 or min(settings.part, settings.batch, settings.upsampling) <= 0:
        raise UsageError(f"{settings} is out of range; spread is 0 to 1, all others are above 0")
    if tools.vae.dtype != torch.float32:
        raise UsageError(f"the VAE is of {tools.vae.dtype}; load it as float32 to build a cache")
    if not photos or len({photo.key for photo in photos}) < len(photos):
        raise UsageError(f"{len(photos)} photos, some with one key; give at least one, each once")


def _index_of(photos: Sequence[Photo], tools: CacheTools, settings: CacheSettings) -> dict[str, Any]:
    """All that the values depend on, and a sha256 over it."""
    source = json.dumps([(photo.key, photo.size) for photo in photos])
    rules = {name: value for name, value in asdict(settings).items() if name != "batch"}
    shipped = [file for name in _SHIPPED for file in sorted(asset(name).iterdir())]
    content = {
        "format": _FORMAT,
        "photos": len(photos),
        "source": hashlib.sha256(source.encode()).hexdigest(),
        "settings": rules,
        "vae": fingerprint(tools.vae.encoder, tools.vae.quant_conv),
        "faces": asdict(tools.eyes.settings),
        "weights": {
            **tools.weights,
            **{f"diffpc/{file.parent.name}/{file.name}": sha256(file) for file in shipped},
        },
    }
    text = json.dumps(content, sort_keys=True)
    return {**json.loads(text), "digest": hashlib.sha256(text.encode()).hexdigest()}


def _write_part(
    file: Path, photos: Sequence[Photo], tools: CacheTools, settings: CacheSettings
) -> dict[str, list[Any]]:
    """Examine, encode and write some photos; returns what the part tells of itself."""
    for remains in file.parent.glob(f".{file.name}.*"):  # of a process that was killed
        remains.unlink()
    contents: dict[str, list[Any]] = {"keys": [], "layouts": [], "rejects": []}
    rows: list[dict[str, Tensor]] = []
    for start in range(0, len(photos), settings.batch):
        found = [examine(photo, tools.eyes, settings) for photo in photos[start : start + settings.batch]]
        accepted = [one for one in found if isinstance(one, Examined)]
        contents["keys"] += [one.key for one in accepted]
        contents["layouts"] = sorted({*contents["layouts"], *(one.layout for one in accepted)})
        contents["rejects"] += [asdict(one) for one in found if isinstance(one, Refused)]
        rows += _rows(accepted, tools, settings) if accepted else []
    tensors = {name: torch.stack([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    _write(file, safetensors.torch.save(tensors, {_CONTENTS: json.dumps(contents)}))
    return contents


def _rows(photos: list[Examined], tools: CacheTools, settings: CacheSettings) -> list[dict[str, Tensor]]:
    """The fields of CachedPhoto, per photo."""
    pictures = torch.stack([to_tensor(photo.picture) for photo in photos])
    renders = torch.stack([(2 * photo.i_3d - 1).expand(3, -1, -1) for photo in photos])
    latents, z_3d = (latents_of(batch, tools.vae).half().cpu() for batch in (pictures, renders))
    faces = face_mask(torch.stack([photo.i_3d for photo in photos]), downscale(tools.vae))
    rows = [
        {
            "latent": latents[number],
            "z_3d": z_3d[number],
            "face": faces[number],
            "landmarks": torch.from_numpy(photo.landmarks).float(),
            "crop": torch.from_numpy(photo.features.cut).permute(2, 0, 1),
            "vector": photo.features.global_vector[0].float().cpu(),
            "patches": photo.features.patches[0].half().cpu(),
            "picture": torch.from_numpy(photo.picture).permute(2, 0, 1),
            **flat_params(photo.params),
            "skin": torch.from_numpy(photo.skin.picture).permute(2, 0, 1),
            "points": photo.skin.points,
            "facing": photo.skin.facing,
        }
        for number, photo in enumerate(photos)
    ]
    kept = {"patches": settings.patches, "picture": settings.pictures}
    kept |= dict.fromkeys(("skin", "points", "facing"), settings.skin)
    left_out = {name for name, wanted in kept.items() if not wanted}
    return [{name: value for name, value in row.items() if name not in left_out} for row in rows]


def face_mask(i_3d: Float[Tensor, "B H W"], scale: int) -> UInt8[Tensor, "B h w"]:
    """Where latents show a part of the face, and their neighbours."""
    seen = functional.max_pool2d((i_3d > 0).float()[:, None], scale)
    return functional.max_pool2d(seen, 3, stride=1, padding=1)[:, 0].to(torch.uint8)


def _part_files(folder: Path, index: dict[str, Any]) -> list[Path]:
    count = -(-index["photos"] // index["settings"]["part"])
    return [folder / f"part-{number:05d}.safetensors" for number in range(count)]


def _contents(file: Path) -> dict[str, list[Any]] | None:
    """Keys, layouts and rejects of a part; None if it is missing or not whole."""
    try:
        with safe_open(file, framework="pt") as part:
            return json.loads(part.metadata()[_CONTENTS])
    except (OSError, SafetensorError, TypeError, LookupError, ValueError):
        return None


def _read_index(folder: Path) -> dict[str, Any]:
    try:
        index = cast(dict[str, Any], json.loads((folder / INDEX).read_bytes()))
        _part_files(folder, index)
    except (OSError, ValueError, LookupError, TypeError, ArithmeticError) as error:
        raise InputError(f"{folder / INDEX}: is no index of a cache ({error}); {_REMEDY}") from error
    return index


def _only_layout(found: set[str], folder: Path) -> LandmarkLayout:
    layouts: list[LandmarkLayout] = [name for name in get_args(LandmarkLayout) if name in found]
    if len(layouts) != 1 or len(found) != 1:
        raise InputError(f"{folder}: holds landmarks of the layouts {', '.join(sorted(found))}; {_REMEDY}")
    return layouts[0]


def _write(file: Path, content: bytes) -> None:
    with atomic_write(file) as stream:
        stream.write(content)
