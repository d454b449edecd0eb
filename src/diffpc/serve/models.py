"""What goes over the wire: the only pydantic models."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from diffpc.serve.identity_files import MAX_PASSPHRASE

MAX_BASE64 = 256 * 2**20
"""Characters; the operator's limit on a request's bytes is mostly far below."""

Name = Annotated[str, Field(max_length=100)]
Id = Annotated[str, Field(min_length=1, max_length=64)]
Seed = Annotated[int, Field(ge=0, le=2**53 - 1, description="JSON's numbers are exact up to here")]


class _Strict(BaseModel):
    """Unknown fields and NaN are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class FileIn(_Strict):
    """A file."""

    data: Annotated[str, Field(max_length=MAX_BASE64, description="the file, base64 (RFC 4648, section 4)")]
    name: Annotated[Name, Field(description="what messages and the record call it")] = "file"


class PhotoIn(FileIn):
    """A photo: JPEG, PNG, WebP, BMP, TIFF or GIF."""

    name: Annotated[Name, Field(description="what messages and the record call it")] = "photo"
    face: Annotated[int | None, Field(ge=0, le=99, description="which face, 0 the largest")] = None


class Pose(_Strict):
    """Degrees: yaw > 0 turns to the image's right, pitch > 0 looks up, roll > 0 tilts clockwise."""

    yaw: Annotated[float, Field(ge=-90, le=90)] = 0.0
    pitch: Annotated[float, Field(ge=-90, le=90)] = 0.0
    roll: Annotated[float, Field(ge=-180, le=180)] = 0.0


class Place(_Strict):
    """Where the face stands, in fractions of the picture."""

    x: Annotated[float, Field(gt=0, le=1)] = 0.5
    y: Annotated[float, Field(gt=0, le=1)] = 0.45
    size: Annotated[float, Field(gt=0, le=1, description="height of the face")] = 0.5


class Options(_Strict):
    """Everything of a request that is no photo."""

    consent: Annotated[
        Literal[True],
        Field(description="that the persons in the photos agreed to this use; nothing is drawn without"),
    ]
    identity: Annotated[Id | None, Field(description="from POST /v1/identities, instead of references")] = (
        None
    )
    pose: Pose | None = None
    place: Place | None = None
    expression: Annotated[Name | None, Field(description="a name: neutral, smile, laugh ...")] = None
    scores: Annotated[
        dict[Name, Annotated[float, Field(ge=-1, le=2)]],
        Field(max_length=64, description="blendshape -> 0 to 1, on a relaxed face"),
    ] = {}
    prompt: Annotated[str, Field(max_length=10_000)] = ""
    style: Annotated[Name | None, Field(description="one of GET /v1/styles")] = None
    steps: Annotated[int | None, Field(ge=1, le=1000)] = None
    guidance: Annotated[float | None, Field(ge=1, le=30)] = None
    strength: Annotated[float | None, Field(ge=0, le=2)] = None
    seed: Seed | None = None
    count: Annotated[int | None, Field(ge=1, le=64)] = None
    size: Annotated[
        tuple[Annotated[int, Field(ge=64, le=2048)], Annotated[int, Field(ge=64, le=2048)]] | None,
        Field(description="width, height in pixels, multiples of 64"),
    ] = None
    previews: bool = True


class PortraitIn(Options):
    """A request as JSON."""

    references: Annotated[list[PhotoIn], Field(max_length=64)] = []
    target: Annotated[PhotoIn | None, Field(description="pose and place are taken from it")] = None
    expression_photo: Annotated[PhotoIn | None, Field(description="the expression is taken from it")] = None


class ConsentIn(_Strict):
    """The options of a form with photos of one person, or with an identity file."""

    consent: Annotated[Literal[True], Field(description="that the person agreed to this use")]
    passphrase: Annotated[
        SecretStr | None,
        Field(max_length=MAX_PASSPHRASE, description="of an encrypted identity file; it is not kept"),
    ] = None


class IdentityIn(ConsentIn):
    """One person as JSON: photos, or an identity file."""

    references: Annotated[list[PhotoIn], Field(max_length=64)] = []
    identity_file: Annotated[
        FileIn | None, Field(description="as `diffpc identity create` wrote it, instead of references")
    ] = None


class IdentityOut(BaseModel):
    """An identity that the service holds."""

    id: str
    expires_in: Annotated[float, Field(description="seconds after its last use")]


class StylesOut(BaseModel):
    """What a portrait may look like."""

    styles: Annotated[list[str], Field(description="names for a request's style")]


class JobOut(BaseModel):
    """An accepted request."""

    id: str
    status: Annotated[str, Field(description="where to look: GET; to take it back: DELETE")]
    events: Annotated[str, Field(description="server-sent events")]


class PortraitOut(BaseModel):
    """One finished portrait; the figures are the model's own eyes', None where they found no face."""

    url: Annotated[str | None, Field(description="the PNG; None if it is withheld")]
    withheld: str | None
    seed: int
    similarity: float | None
    pose_error: Annotated[float | None, Field(description="degrees")]
    expression_error: float | None


class StatusOut(BaseModel):
    """A job at one moment."""

    id: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    version: Annotated[int, Field(description="counts the changes")]
    position: Annotated[int, Field(description="jobs that wait before it")]
    progress: Annotated[float, Field(ge=0, le=1)]
    preview: Annotated[str | None, Field(description="a PNG as a data URL")]
    error: str | None
    portraits: list[PortraitOut]


class ErrorOut(BaseModel):
    """What went wrong and what to do, one sentence."""

    detail: str


class HealthOut(BaseModel):
    """The service answers."""

    status: Literal["ok"] = "ok"
