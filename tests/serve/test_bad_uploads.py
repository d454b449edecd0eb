"""200 uploads that are no photos: each is refused with a sentence, and memory does not grow."""

import io
import json
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import psutil
from PIL import Image as PILImage
from starlette.testclient import TestClient

ALLOWED = 24 * 2**20
"""Bytes by which the process may grow over 180 refused uploads, after 20 to warm up."""


def picture(form: str, side: int = 64) -> bytes:
    stream = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), dtype=np.uint8)
    PILImage.fromarray(noise).save(stream, form)
    return stream.getvalue()


def png(width: int, height: int, data: bytes, extra: bytes = b"") -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def bad_files() -> Iterator[tuple[str, bytes]]:
    """Names and contents, each of a kind of its own; none is a usable photo."""
    forms = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
    for form in forms:
        whole = picture(form)
        for share in (0.02, 0.1, 0.2, 0.3, 0.4, 0.5):
            yield f"truncated.{form}", whole[: int(len(whole) * share)]
        yield f"tiny.{form}", picture(form, 8)
    bomb = zlib.compress(bytes(2**20), 9)
    for width, height in (
        (60000, 60000),
        (2**31 - 1, 1),
        (1, 2**31 - 1),
        (2**31 - 1, 2**31 - 1),
        (1001, 1000),
    ):
        yield "bomb.png", png(width, height, bomb)
    for tail in (
        b"<script>alert(1)</script>",
        b"<?php system($_GET[0]);",
        b"#!/bin/sh\nid\n",
        b"\x7fELF" + bytes(60),
    ):
        for head in (b"GIF89a", b"\xff\xd8\xff\xe0", b"BM", b"%PDF-1.7\n", b"RIFF\0\0\0\0WEBP"):
            yield "polyglot", head + tail
    for magic in (b"", b"\0", b"PK\3\4", b"8BPS", b"\0\0\0\x18ftypheic", b"\x1aE\xdf\xa3", b"<svg/>", b"{}"):
        for length in (1, 100, 10_000):
            yield "other.bin", magic + bytes(length)
    random = np.random.default_rng(1)
    while True:
        yield "noise.jpg", random.bytes(int(random.integers(1, 5000)))


def post(client: TestClient, name: str, data: bytes, number: int) -> int:
    """One of the three ways to send a file, and for every tenth a header that is out of all proportion."""
    headers = {"X-Long": "x" * 60_000} if number % 10 == 0 else {}
    files = [("references", (name, data))]
    if number % 3 == 0:
        path, options = "/v1/identities", json.dumps({"consent": True})
    else:
        path, options = "/v1/portraits", json.dumps({"consent": True, "steps": 1})
    if number % 3 == 1:  # raw, under the type of a form or of JSON
        kind = ("application/json", "multipart/form-data", "multipart/form-data; boundary=x", "image/png")[
            number % 4
        ]
        return client.post(path, content=data, headers={"Content-Type": kind, **headers}).status_code
    return client.post(path, data={"options": options}, files=files, headers=headers).status_code


def test_bad_uploads_are_refused_and_cost_no_memory(client: TestClient) -> None:
    files, process = bad_files(), psutil.Process()
    before, codes = 0, list[int]()
    for number in range(200):
        if number == 20:
            before = process.memory_info().rss
        codes.append(post(client, *next(files), number))
    assert all(400 <= code < 500 for code in codes), codes
    assert process.memory_info().rss - before < ALLOWED


def test_a_body_over_the_limit_is_cut_off(client: TestClient) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(64):
            sent += 2**18
            yield bytes(2**18)

    answer = client.post("/v1/portraits", content=endless(), headers={"Content-Type": "application/json"})
    assert (answer.status_code, "over this service's limit of 2 MiB" in answer.json()["detail"]) == (
        413,
        True,
    )
    told = client.post("/v1/portraits", content=b"{}", headers={"Content-Length": str(2**40)})
    assert told.status_code == 413
