"""`diffpc identity create` and `diffpc identity show`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from diffpc.cli.options import options_of, part
from diffpc.cli.output import Output, hush
from diffpc.cli.passphrase import known_passphrase, new_passphrase

if TYPE_CHECKING:
    from diffpc.person import Person

HELP = """usage: diffpc identity {create,show} [OPTIONS]

An identity file holds a person as the networks know one: biometric data. Make it only with the person's consent,
keep it private, and delete it when it is no longer needed.

  create PHOTO [PHOTO ...] -o ME.identity.safetensors   photos of a person -> one file for `generate --identity`
  show FILE                                             what is in such a file

`diffpc identity create --help` lists the options."""


@dataclass(frozen=True)
class Creation:
    """What an identity file is made of."""

    photos: tuple[Path, ...]
    """Photos of one person, who has agreed to it."""
    output: Path
    """FILE.safetensors to write."""
    model: str = "tiny"
    """Whose networks look at the photos: tiny (bundled), a folder, an adapter's file, or OWNER/NAME on the hub. The
    file then serves every model that looks with the same networks."""
    face: int | None = None
    """Which face of each photo, 0 the largest; without it the one that stands out."""
    keep_outliers: bool = False
    """Use photos as well that look like another person."""
    encrypt: bool = False
    """Encrypt the file with a passphrase: that of $DIFFPC_PASSPHRASE, or one typed on the terminal."""


@dataclass(frozen=True)
class Shown:
    """What is to be shown."""

    file: Path
    """An identity file."""


def run(arguments: Sequence[str]) -> int:
    """Make or show an identity file."""
    actions = {"create": _create, "show": _show}
    if not arguments or arguments[0] not in actions:
        asked = bool(arguments) and arguments[0] in ("-h", "--help")
        print(HELP, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    return actions[arguments[0]](arguments[1:])


def _create(arguments: Sequence[str]) -> int:
    import tyro

    photos = tyro.conf.Positional[Annotated[tuple[Path, ...], tyro.conf.arg(metavar="PHOTO [PHOTO ...]")]]
    output = Annotated[Path, tyro.conf.arg(metavar="FILE", aliases=["-o"])]
    entries = [("photos", photos, field()), ("output", output, field())]
    kind = make_dataclass("Create", entries, bases=(Creation, Output), frozen=True, kw_only=True)
    parsed = _parsed(kind, "create", "Photos of a person -> one file to draw with.", arguments)
    options, how = part(parsed, Creation), part(parsed, Output)
    passphrase = new_passphrase(options.output) if options.encrypt else None
    if not how.debug:
        hush()
    from diffpc.identity_file import save_identity
    from diffpc.images import read_image
    from diffpc.loading import load_eyes
    from diffpc.person import gathered

    photos = [read_image(path) for path in options.photos]
    eyes = load_eyes(options.model)
    person = gathered(
        photos, [path.name for path in options.photos], eyes, options.face, options.keep_outliers
    )
    save_identity(person, eyes, options.output, passphrase)
    _print_person(person, options.output, how, {})
    return 0


def _show(arguments: Sequence[str]) -> int:
    import tyro

    file = tyro.conf.Positional[Annotated[Path, tyro.conf.arg(metavar="FILE")]]
    kind = make_dataclass("Show", [("file", file, field())], bases=(Shown, Output), frozen=True, kw_only=True)
    parsed = _parsed(kind, "show", "What is in an identity file.", arguments)
    options, how = part(parsed, Shown), part(parsed, Output)
    if not how.debug:
        hush()
    from diffpc.identity_file import is_encrypted, read_identity

    encrypted = is_encrypted(options.file)
    stored = read_identity(options.file, known_passphrase(options.file) if encrypted else None)
    _print_person(stored.person, options.file, how, {"marks": stored.marks, "encrypted": encrypted})
    return 0


def _parsed(kind: type[Any], action: str, description: str, arguments: Sequence[str]) -> Any:

    return options_of(kind, f"diffpc identity {action}", arguments, description)


def _print_person(person: Person, path: Path, output: Output, more: dict[str, object]) -> None:
    photos = person.photos
    if output.json:
        print(json.dumps({"file": str(path), "photos": [asdict(one) for one in photos], **more}))
        return
    for photo in photos:
        quality = "no face" if photo.quality is None else f"quality {photo.quality:.2f}"
        apart = "" if photo.distance is None else f", distance to the others {photo.distance:.2f}"
        print(f"{photo.name}: {quality}{apart}" + (f": left out: {photo.fault}" if photo.fault else ""))
    used = sum(photo.fault is None for photo in photos)
    print(f"{path}: a person of {used} of {len(photos)} photos")
    for name, value in more.items():
        print(f"{name}: {value}")
