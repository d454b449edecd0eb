"""Sizes and choices of a model, as frozen dataclasses that refuse what they do not know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from diffpc.errors import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class VAESettings:
    """Sizes of `diffusers.AutoencoderKL`."""

    latent_channels: int
    block_out_channels: tuple[int, ...]
    layers_per_block: int
    norm_num_groups: int
    scaling_factor: float
    """Latents are multiplied by it to have about unit variance."""
    mid_block_add_attention: bool


@dataclass(frozen=True)
class TextEncoderSettings:
    """Sizes of a CLIP text encoder."""

    hidden_size: int
    layers: int
    heads: int
    projection: int
    vocabulary: int
    length: int
    """Tokens per prompt, the start and end marks included."""
    activation: str


@dataclass(frozen=True)
class UNetSettings:
    """Sizes of `diffusers.UNet2DConditionModel` in SDXL's layout."""

    block_out_channels: tuple[int, int, int]
    layers_per_block: int
    transformer_layers_per_block: tuple[int, int, int]
    attention_head_dim: tuple[int, int, int]
    """Number of heads per level (the library's name for it)."""
    addition_time_embed_dim: int
    norm_num_groups: int


@dataclass(frozen=True)
class BackboneSettings:
    """The base model: SDXL's parts at any size."""

    vae: VAESettings
    text_encoder: TextEncoderSettings
    text_encoder_2: TextEncoderSettings
    unet: UNetSettings
    size: int
    """Side in pixels of the images it was trained on."""
    prediction_type: Literal["epsilon", "v_prediction"]
    beta_schedule: str
    rescale_betas_zero_snr: bool

    @property
    def text_width(self) -> int:
        """Width of the text tokens: both encoders side by side."""
        return self.text_encoder.hidden_size + self.text_encoder_2.hidden_size


@dataclass(frozen=True)
class AdapterSettings:
    """Sizes and forms of ID-Encoder, ID-Ctrl and ID-Injectors."""

    global_width: int
    """d1, width of the global face vector."""
    local_width: int
    """d2, width of the patch features."""
    tokens: int
    """Learned queries of the ID-Encoder, 32 in the paper."""
    layers: int
    """Decoder layers of the ID-Encoder."""
    heads: int
    """Attention heads of the ID-Encoder."""
    injector: Literal["paper", "gated", "residual", "additive"]
    """Form of the ID-Injector; "additive" is ControlNet's way in."""
    kernel: Literal[1, 3]
    """Kernel of the injectors' convolutions; the additive form has 1 x 1 only."""
    sites: Literal["per_concatenation", "per_block"] = "per_concatenation"
    """Where ID-Injectors sit."""
    identity: Literal["local", "global", "concat", "id_encoder"] = "id_encoder"
    """Form of the identity tokens (Table 4)."""
    control: Literal["id_ctrl", "ip_adapter"] = "id_ctrl"
    """Where the identity tokens go (Table 5): to ID-Ctrl's cross-attention, or beside the text into the UNet's own,
    while ID-Ctrl reads the text: a ControlNet for the 3D face."""
    skin: bool = False
    """Whether ID-Ctrl is told the reference's skin on the target's mesh (`face3d.skin`), which the paper's is not."""


@dataclass(frozen=True)
class Framing:
    """Where a model has seen faces; a target is moved and scaled to lie within (fractions of the picture)."""

    height: tuple[float, float] = (0.0, 10.0)
    """Least and greatest height of the 3D face, brow to chin."""
    x: tuple[float, float] = (-10.0, 10.0)
    """Horizontal place of its centre."""
    y: tuple[float, float] = (-10.0, 10.0)
    """Vertical place of its centre."""


@dataclass(frozen=True)
class FaceSettings:
    """Which back ends see faces for this model; each is a name of its seam's table."""

    detector: str
    embedder: str
    local_features: str
    predictor: str
    face_model: str
    framing: Framing = Framing()
    """The default leaves every target where it is."""
    matter: str = "grabcut"
    """Separates the person from the background."""
    reference_scale: float = 1.3
    """Side of the square that the local features see, in sides of the face's box."""


@dataclass(frozen=True)
class ModelSettings:
    """A whole model."""

    backbone: BackboneSettings
    adapter: AdapterSettings
    faces: FaceSettings
    steps: int = 8
    """Network evaluations per portrait that suit the model (Sec. 5.1)."""
    guidance: float = 1.0
    """Classifier-free guidance that suits it."""


def from_dict(kind: type[T], values: Mapping[str, Any], place: str = "") -> T:
    """Build a settings dataclass from plain values, as read from JSON; lists become tuples, integers floats.

    Args:
        kind: the dataclass.
        values: its fields; those with a default may be missing.
        place: what to call it in messages; by default the class's name.

    Raises:
        UsageError: for an unknown or missing field, or a value of the wrong type; the message says what is
            expected.
    """
    place = place or kind.__name__
    known = {field.name: field for field in fields(kind)}  # pyright: ignore[reportArgumentType] - a dataclass
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise UsageError(f"unknown field {unknown[0]!r} in {place}; valid fields: {', '.join(sorted(known))}")
    lacking = [
        name
        for name, field in known.items()
        if name not in values and field.default is MISSING and field.default_factory is MISSING
    ]
    if lacking:
        raise UsageError(f"{place} is incomplete; add: {', '.join(lacking)}")
    hints = get_type_hints(kind)
    return kind(**{name: _convert(hints[name], value, f"{place}.{name}") for name, value in values.items()})


def _convert(kind: Any, value: Any, place: str) -> Any:
    origin = get_origin(kind)
    if is_dataclass(kind) and isinstance(value, kind):  # pyright: ignore[reportArgumentType] - a class
        return value
    if is_dataclass(kind) and isinstance(value, Mapping):
        return from_dict(kind, value, place)  # pyright: ignore[reportArgumentType] - a dataclass type
    if origin is tuple and isinstance(value, list | tuple):
        return _convert_tuple(get_args(kind), list(value), place)
    if origin in (Union, UnionType):
        choices = [one for one in get_args(kind) if one is not NoneType]
        return None if value is None else _convert(choices[0], value, place)
    if origin is Literal and any(one == value and type(one) is type(value) for one in get_args(kind)):
        return value
    if kind is Path and isinstance(value, str | Path):
        return Path(value)
    if kind is float and type(value) in (int, float):
        return float(value)
    if kind in (int, str, bool) and type(value) is kind:  # a bool is no int here
        return value
    raise UsageError(f"{place} is {value!r}, expected {_described(kind)}")


def _convert_tuple(kinds: tuple[Any, ...], values: list[Any], place: str) -> tuple[Any, ...]:
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(values)
    if len(kinds) != len(values):
        raise UsageError(f"{place} is {values!r}, expected {len(kinds)} values")
    return tuple(
        _convert(kind, value, f"{place}[{number}]")
        for number, (kind, value) in enumerate(zip(kinds, values, strict=True))
    )


def _described(kind: Any) -> str:
    """A type in words."""
    if get_origin(kind) is Literal:
        return "one of: " + ", ".join(repr(one) for one in get_args(kind))
    words = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", Path: "a path"}
    if kind in words:
        return words[kind]
    return "a list" if get_origin(kind) is tuple else f"the fields of {getattr(kind, '__name__', kind)}"
