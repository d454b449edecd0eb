"""`diffpc serve`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Any

from diffpc.backends import require
from diffpc.cli.options import options_of
from diffpc.cli.output import hush
from diffpc.imports import kept

CONSENT = (
    "Use photos of people only with their consent, and do not pass portraits off as photographs; "
    "a face is biometric data."
)


def run(arguments: Sequence[str]) -> int:
    """Serve until it is stopped."""
    options = _parsed(arguments)
    hush()
    require("fastapi", "serve")
    print(f"diffpc: {CONSENT}", file=sys.stderr)
    with kept("torch"):
        from diffpc.serve.run import run as serve

    serve(_settings(options), _say)
    return 0


def _say(line: str) -> None:
    print(f"diffpc: {line}", file=sys.stderr, flush=True)


OPTIONS: dict[str, tuple[Any, Any, str, str]] = {
    "host": (
        str,
        "127.0.0.1",
        "ADDRESS",
        "Address to listen on; any other than this machine's own needs --api-keys.",
    ),
    "port": (int, 7860, "N", "Port to listen on."),
    "model": (str, "tiny", "tiny|FOLDER|FILE|HUB_ID", "What to draw with."),
    "base": (str | None, None, "SDXL", "SDXL checkpoint to use the model's adapter on."),
    "unet": (Path | None, None, "FILE|FOLDER", "UNet that takes the place of the base's."),
    "vae": (Path | None, None, "FILE|FOLDER", "VAE that takes the place of the base's."),
    "lora": (
        tuple[str, ...],
        (),
        "FILE[=WEIGHT]",
        "LoRA files for the base; drawn with unless a style is asked for.",
    ),
    "fast": (
        str | None,
        None,
        "NAME",
        "What the weights are distilled for: lightning, hyper, hyper-cfg or lcm; else as their names say.",
    ),
    "style": (
        tuple[str, ...],
        (),
        "NAME=FILE[,FILE...]",
        "A style that clients may choose: LoRA files for the base. Give it again for more.",
    ),
    "device": (str | None, None, "DEVICE", "cpu, cuda, cuda:N or mps."),
    "dtype": (str | None, None, "TYPE", "float32, bfloat16 or float16."),
    "memory": (
        tuple[str, ...],
        (),
        "MODE",
        "Draw with less memory: tiling, fp8 or int8, and on a GPU one of model, group, sequential.",
    ),
    "threads": (int | None, None, "N", "Threads of the processor for drawing."),
    "queue": (int, 32, "N", "Jobs that may wait; more are answered 429."),
    "max_upload": (int, 32, "MIB", "Size of a request."),
    "max_pixels": (int, 24, "MEGAPIXELS", "Of all photos of a request."),
    "max_photos": (int, 8, "N", "References of a request."),
    "max_count": (int, 8, "N", "Portraits of a request."),
    "max_steps": (int, 60, "N", "Denoising steps."),
    "max_side": (int, 1536, "PIXELS", "Longest side of a portrait."),
    "kept": (int, 256, "N", "Finished jobs whose portraits are held."),
    "kept_minutes": (float, 15.0, "MINUTES", "How long portraits are held."),
    "identity_minutes": (float, 60.0, "MINUTES", "How long an identity is held after its last use."),
    "api_keys": (Path | None, None, "FILE", "Keys, one per line; more in the environment's DIFFPC_API_KEYS."),
    "allow_origin": (tuple[str, ...], (), "URL", "Other sites whose scripts may call the API."),
    "allow_host": (tuple[str, ...], (), "NAME", "Names by which clients may call the service."),
    "keep": (Path | None, None, "FOLDER", "Write portraits and photos there; else all stays in memory."),
    "no_page": (bool, False, "", "The API alone."),
    "no_watermark": (bool, False, "", "No invisible mark in the pictures."),
    "nsfw_checker": (Path | None, None, "FOLDER", "diffusers' safety checker, for models from 512 px."),
    "no_nsfw": (bool, False, "", "Do not check pictures, even with a checker."),
    "batch": (int, 1, "N", "Compatible jobs drawn together; more per second, other last bits."),
    "ray": (bool, False, "", "Draw in a Ray Serve deployment."),
    "ray_address": (str | None, None, "ADDRESS", "Cluster to join; else Ray starts on this machine."),
    "replicas": (int | None, None, "N", "With --ray; else one per GPU, or one."),
    "stop_seconds": (float, 30.0, "SECONDS", "For running jobs to finish when the service is stopped."),
}
"""name -> type, default, how `--help` names the value, what it means."""


REPEATED = frozenset({"style"})
"""Options that are given once for each value."""


def _parsed(arguments: Sequence[str]) -> Any:
    import tyro
    from tyro.conf import arg

    rows: list[tuple[str, Any, Any]] = []
    for name, (kind, default, metavar, told) in OPTIONS.items():
        described = arg(metavar=metavar, help=told) if metavar else arg(help=told)
        if name in REPEATED:
            kind = tyro.conf.UseAppendAction[kind]
        rows.append((name, _annotated(kind, described), field(default=default)))
    return options_of(
        make_dataclass("Serve", rows, frozen=True),
        "diffpc serve",
        arguments,
        f"A web page and a REST API that draw portraits. {CONSENT}",
    )


def _annotated(kind: Any, described: Any) -> Any:
    from typing import Annotated

    return Annotated[kind, described]


def _settings(options: Any) -> Any:
    from diffpc.serve.painter import ModelSettings
    from diffpc.serve.request import Limits
    from diffpc.serve.run import ServeSettings
    from diffpc.serve.safety import SafetySettings
    from diffpc.serve.styles import parsed_styles

    def taken(kind: type, **others: Any) -> Any:
        values = {one.name: getattr(options, one.name) for one in fields(kind) if hasattr(options, one.name)}
        return kind(**{**values, **others})

    safety = SafetySettings(options.nsfw_checker, not options.no_nsfw, not options.no_watermark)
    limits = taken(
        Limits,
        upload_bytes=options.max_upload * 2**20,
        pixels=options.max_pixels * 10**6,
        photos=options.max_photos,
        count=options.max_count,
        steps=options.max_steps,
        side=options.max_side,
        kept_seconds=60 * options.kept_minutes,
        identity_seconds=60 * options.identity_minutes,
    )
    model = taken(ModelSettings, safety=safety, styles=parsed_styles(options.style))
    return taken(ServeSettings, model=model, limits=limits, page=not options.no_page)
