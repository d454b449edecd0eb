"""Bodies of requests -> requests: bytes are counted while they come, photos decoded off the event loop."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import anyio
from fastapi import Request
from pydantic import BaseModel, ValidationError
from python_multipart.exceptions import FormParserError
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from diffpc.errors import DiffPCError, InputError
from diffpc.face3d.pose import Angles
from diffpc.face3d.predict import Placement
from diffpc.images import decode_image
from diffpc.serve.identity_files import IdentityFile
from diffpc.serve.jobs import Busy
from diffpc.serve.models import ConsentIn, FileIn, IdentityIn, Options, PhotoIn, PortraitIn
from diffpc.serve.request import Limits, Photo, PortraitRequest, Wish
from diffpc.serve.studio import Studio

DECODERS = 2
"""Photos decoded at the same time: each may take 4 bytes for each of its pixels, and as much again to turn it."""

FILES = ("references", "target", "expression_photo")
"""Parts of a multipart request for portraits that are photos; `options` is JSON."""

PERSON = ("references", "identity_file")
"""Parts of a multipart request for an identity that are files."""

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Body = TypeVar("Body", bound=BaseModel)


class TooLarge(DiffPCError):
    """The body is over the limit."""


class WrongType(DiffPCError):
    """The body is of a type that is not read."""


class Invalid(DiffPCError):
    """The body does not fit the schema."""


@dataclass(frozen=True)
class Raw:
    """A photo's file, not yet decoded."""

    name: str
    data: bytes
    face: int | None = None


@dataclass(frozen=True)
class Asked:
    """A request's options and its files."""

    options: Any
    """`Options`, or for identities `IdentityIn`."""
    files: dict[str, tuple[Raw, ...]] = field(default_factory=dict[str, tuple[Raw, ...]])
    """By the names of FILES, or PERSON."""


class Reader:
    """Reads the bodies of one service's requests."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._decoders = anyio.CapacityLimiter(DECODERS)
        self._reading = 0

    @contextmanager
    def place(self) -> Generator[None]:
        """Hold one of the places for requests with photos; the event loop's thread alone calls it.

        Raises:
            Busy: if all are taken.
        """
        if self._reading >= self._limits.uploads:
            raise Busy(f"{self._reading} uploads are being read; try again in 1 s", 1)
        self._reading += 1
        try:
            yield
        finally:
            self._reading -= 1

    async def portrait(self, request: Request, studio: Studio) -> PortraitRequest:
        """The body of POST /v1/portraits.

        Raises:
            TooLarge, WrongType, Invalid: for the body.
            InputError: for a photo.
        """
        asked = await self._asked(request, PortraitIn, Options)
        options: Options = asked.options
        known = studio.identities.get(options.identity) if options.identity else None
        photos = await self._photos(asked.files)
        pose, place = options.pose, options.place
        return PortraitRequest(
            references=photos.get("references", ()),
            identity=known.identity if known else None,
            origin=known.origin if known else None,
            wish=Wish(
                target=next(iter(photos.get("target", ())), None),
                expression=next(iter(photos.get("expression_photo", ())), options.expression),
                scores=options.scores,
                pose=Angles(pose.yaw, pose.pitch, pose.roll) if pose else None,
                place=Placement(place.x, place.y, place.size) if place else None,
            ),
            prompt=options.prompt,
            style=options.style,
            steps=options.steps,
            guidance=options.guidance,
            strength=options.strength,
            seed=options.seed,
            count=options.count,
            size=options.size,
            previews=options.previews,
        )

    async def person(self, request: Request) -> tuple[Photo, ...] | IdentityFile:
        """The body of POST /v1/identities: photos, or an identity file; raises as `portrait`."""
        asked = await self._asked(request, IdentityIn, ConsentIn)
        files, options = asked.files, cast(ConsentIn, asked.options)
        if bool(files["references"]) == bool(files["identity_file"]):
            raise Invalid("references and identity_file: send photos, or an identity file, and not both")
        if photos := (await self._photos({"references": files["references"]})).get("references"):
            return photos
        (raw,), secret = files["identity_file"], options.passphrase
        return IdentityFile(raw.name, raw.data, secret.get_secret_value() if secret else None)

    async def _photos(self, files: Mapping[str, Sequence[Raw]]) -> dict[str, tuple[Photo, ...]]:
        """Decode them one after the other; all together have the pixels of one request."""
        left, photos = self._limits.pixels, dict[str, tuple[Photo, ...]]()
        for part, raws in files.items():
            for raw in raws:
                photo = await anyio.to_thread.run_sync(self._decoded, raw, left, limiter=self._decoders)
                left -= photo.image.shape[0] * photo.image.shape[1]
                photos[part] = (*photos.get(part, ()), photo)
        return photos

    def _decoded(self, raw: Raw, pixels: int) -> Photo:
        image = decode_image(raw.data, raw.name, pixels)
        return Photo(raw.name, image, hashlib.sha256(raw.data).hexdigest(), raw.face)

    async def _asked(self, request: Request, whole: type[BaseModel], options: type[BaseModel]) -> Asked:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == "application/json":
            data = await self._bytes(request)
            return await anyio.to_thread.run_sync(self._from_json, data, whole, limiter=self._decoders)
        if kind == "multipart/form-data":
            return await self._from_form(request, options)
        raise WrongType(f"the body is of type {kind[:60]!r}; send application/json or multipart/form-data")

    async def _bytes(self, request: Request) -> bytes:
        data = bytearray()
        try:
            async for part in request.stream():
                data += part
        except ClientDisconnect as error:
            raise Invalid("the body was cut short; send it again") from error
        return bytes(data)

    def _from_json(self, data: bytes, whole: type[BaseModel]) -> Asked:
        body: Any = _validated(whole, data)
        single = {name: getattr(body, name, None) for name in _files_of(whole)[1:]}
        files = {name: () if one is None else (_raw(one),) for name, one in single.items()}
        self._count(len(body.references))
        return Asked(body, files | {"references": tuple(_raw(one) for one in body.references)})

    async def _from_form(self, request: Request, options: type[BaseModel]) -> Asked:
        most = self._limits.photos + len(FILES)
        parser = MultiPartParser(
            request.headers, request.stream(), max_files=most, max_fields=4, max_part_size=2**16
        )
        parser.spool_max_size = self._limits.upload_bytes + 1  # uploads stay in memory
        try:
            form = await parser.parse()
        except (MultiPartException, FormParserError) as error:
            reason = getattr(error, "message", str(error))
            raise Invalid(f"the form cannot be read ({reason[:100]}); send multipart/form-data") from error
        except (
            KeyError,
            LookupError,
            UnicodeError,
            ValueError,
            AssertionError,
        ) as error:  # no boundary, odd charset
            raise Invalid("the form's headers cannot be read; leave them to the HTTP library") from error
        except ClientDisconnect as error:
            raise Invalid("the body was cut short; send it again") from error
        try:
            files: dict[str, list[Raw]] = {name: [] for name in _files_of(options)}
            given: str | None = None
            for name, value in form.multi_items():
                if name in files and isinstance(value, UploadFile):
                    files[name].append(Raw(_plain(value.filename), await value.read()))
                elif name == "options" and isinstance(value, str) and given is None:
                    given = value
                else:
                    raise Invalid(
                        f"unexpected part {name[:40]!r}; send options (JSON) and {', '.join(files)}"
                    )
        finally:
            await form.close()
        return self._checked(files, given, options)

    def _checked(self, files: dict[str, list[Raw]], given: str | None, options: type[BaseModel]) -> Asked:
        if given is None:
            raise Invalid('the part "options" is missing; send JSON, at least {"consent": true}')
        parsed = _validated(options, given.encode(errors="surrogatepass"))
        self._count(len(files["references"]))
        for name in _files_of(options)[1:]:
            if len(files[name]) > 1:
                raise Invalid(f"{name}: {len(files[name])} files; send one")
        return Asked(parsed, {name: tuple(found) for name, found in files.items()})

    def _count(self, references: int) -> None:
        if references > self._limits.photos:
            raise Invalid(f"references: {references} is over this service's limit of {self._limits.photos}")


def _files_of(kind: type[BaseModel]) -> tuple[str, ...]:
    """The parts of such a request that are files; of the first there may be several."""
    return PERSON if issubclass(kind, ConsentIn) else FILES


def _validated(kind: type[Body], data: bytes) -> Body:
    try:
        return kind.model_validate_json(data)
    except (ValidationError, RecursionError) as error:
        raise Invalid(_sentence(error)) from error


def _sentence(error: ValidationError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "the JSON is nested too deeply; see /docs"
    first = error.errors(include_url=False, include_input=False)[0]
    place = ".".join(str(part) for part in first["loc"])[:100] or "the body"
    return f"{_plain(place)}: {first['msg'][:200]}; see /docs"


def _raw(file: FileIn) -> Raw:
    name = _plain(file.name)
    face = file.face if isinstance(file, PhotoIn) else None
    try:
        return Raw(name, base64.b64decode(file.data, validate=True), face)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{name}: is not base64; encode the file's bytes by RFC 4648, section 4") from error


def _plain(name: str | None) -> str:
    """A name for messages and records only: no folders, nothing that a terminal obeys, no lone surrogates."""
    last = (name or "photo").replace("\\", "/").rpartition("/")[2]
    clean = _CONTROL.sub("", last.encode("utf-8", "replace").decode())[:100]
    return clean if clean not in ("", ".", "..") else "photo"
