"""`diffpc assets`: list, fetch and verify the files that diffpc does not ship, and say under which terms they come."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, make_dataclass
from typing import TYPE_CHECKING, Annotated, Any

from diffpc.cli.options import options_of
from diffpc.errors import DiffPCError, InputError, UsageError

if TYPE_CHECKING:
    from diffpc.external.asset import Asset
    from diffpc.external.download import Progress
    from diffpc.external.fetch import Fetched, Fetching
    from diffpc.external.licence import LicenceReport
    from diffpc.external.verify import Finding

HELP = """usage: diffpc assets ACTION [OPTIONS]

Files that diffpc does not ship. They lie in the folder that $DIFFPC_ASSETS names, else in ~/.cache/diffpc.

actions:
  list [NAME ...]      what there is, for what, under which terms, and whether it is here
  fetch NAME [...]     download; run it again to go on after a stop
  verify [NAME ...]    hash what is here
  licence [OPTIONS]    whether a configuration may be used commercially, part by part

`diffpc assets ACTION --help` lists the options."""


@dataclass(frozen=True)
class Shown:
    """What a report shows."""

    json: bool = False
    """Print JSON instead of a table."""


@dataclass(frozen=True)
class Fetch:
    """From where."""

    mirror: str | None = None
    """Address in the place of every source's host: MIRROR/OWNER/NAME/resolve/main/FILE for files of the hub. The hub's
    token (HF_TOKEN) is never sent there."""
    again: bool = False
    """Also fetch what is here and has no known hash: it may be broken."""
    json: bool = False
    """Print JSON instead of lines."""
    quiet: bool = False
    """No progress bar."""


@dataclass(frozen=True)
class Configuration:
    """What the licence report is about."""

    model: str = "tiny"
    """tiny or sdxl."""
    detector: str | None = None
    """Another face detector than the model's."""
    embedder: str | None = None
    """Another face embedder than the model's."""
    local_features: str | None = None
    """Other local features than the model's."""
    predictor: str | None = None
    """Another 3D face predictor than the model's."""
    face_model: str | None = None
    """Another 3D face model than the model's."""
    matter: str | None = None
    """Another matte than the model's."""
    add: tuple[str, ...] = ()
    """Assets used with it: a LoRA, another VAE, a baseline."""
    json: bool = False
    """Print JSON instead of a table."""


def run(arguments: Sequence[str]) -> int:
    """Do one action."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(HELP, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] not in ACTIONS:
        raise UsageError(f"unknown action {arguments[0]!r}; choose one of: {', '.join(ACTIONS)}")
    return ACTIONS[arguments[0]](arguments[1:])


def _list(arguments: Sequence[str]) -> int:
    parsed = _parsed(Shown, "list", "The files that diffpc does not ship.", arguments)
    from diffpc.external.places import assets_root
    from diffpc.external.table import find
    from diffpc.external.verify import look

    assets = find(parsed.names)
    found = {asset.name: look(asset, assets_root()) for asset in assets}
    if parsed.json:
        print(json.dumps([_described(asset, found[asset.name]) for asset in assets]))
    elif parsed.names:
        print("\n\n".join(_details(asset, found[asset.name]) for asset in assets))
    else:
        _print_table(assets, found)
        print(f"\nfolder: {assets_root()}; `diffpc assets list NAME` tells all about one")
    return 0


def _verify(arguments: Sequence[str]) -> int:
    parsed = _parsed(Shown, "verify", "Hash what is here.", arguments)
    from diffpc.external.places import assets_root
    from diffpc.external.table import find
    from diffpc.external.verify import overall, verify

    found = {asset.name: verify(asset, assets_root()) for asset in find(parsed.names)}
    if parsed.json:
        print(json.dumps([_described(asset, found[asset.name]) for asset in find(parsed.names)]))
    else:
        for name, findings in found.items():
            print(f"{name}: {overall(findings)}")
            for one in findings:
                if one.state == "wrong":
                    print(f"  {one.path} {one.detail}; run: diffpc assets fetch {name}")
    return InputError.exit_code if any(overall(one) == "wrong" for one in found.values()) else 0


def _fetch(arguments: Sequence[str]) -> int:
    parsed = _parsed(Fetch, "fetch", "Download files that diffpc does not ship.", arguments)
    from diffpc.external.fetch import Fetching, token_of
    from diffpc.external.table import find

    if not parsed.names:
        raise UsageError("name what to fetch; `diffpc assets list` lists it")
    how = Fetching(mirror=parsed.mirror, token=token_of(os.environ), again=parsed.again)
    outcomes = [_fetched(asset, how, parsed.quiet or parsed.json) for asset in find(parsed.names)]
    faults = [one for one in outcomes if isinstance(one[1], DiffPCError)]
    if parsed.json:
        print(json.dumps([_fetched_json(*one) for one in outcomes]))
    for name, fault in faults:
        print(f"diffpc: {name}: {' '.join(str(fault).split())}", file=sys.stderr)
    return InputError.exit_code if faults else 0


def _licence(arguments: Sequence[str]) -> int:
    parsed = _parsed(Configuration, "licence", "The terms of a configuration.", arguments, named=False)
    from dataclasses import replace

    from diffpc.external.licence import ROLES, licence_report
    from diffpc.external.table import find
    from diffpc.presets import PRESETS

    if parsed.model not in PRESETS:
        raise UsageError(f"unknown model {parsed.model!r}; choose one of: {', '.join(PRESETS)}")
    chosen = {name: getattr(parsed, name) for name in ROLES if getattr(parsed, name) is not None}
    faces = replace(PRESETS[parsed.model]().faces, **chosen)
    report = licence_report(parsed.model, faces, find(parsed.add) if parsed.add else ())
    if parsed.json:
        print(json.dumps({**asdict(report), "sentence": report.sentence}))
    else:
        _print_report(report)
    return 0


ACTIONS: dict[str, Callable[[Sequence[str]], int]] = {
    "list": _list,
    "fetch": _fetch,
    "verify": _verify,
    "licence": _licence,
}


def _parsed(
    kind: type[Any], action: str, description: str, arguments: Sequence[str], named: bool = True
) -> Any:
    import tyro

    names = tyro.conf.Positional[
        Annotated[
            tuple[str, ...], tyro.conf.arg(metavar="[NAME ...]", help="As `diffpc assets list` calls them.")
        ]
    ]
    entries = [("names", names, field(default=()))] if named else []
    return options_of(
        make_dataclass(action.capitalize(), entries, bases=(kind,), frozen=True, kw_only=True),
        f"diffpc assets {action}",
        arguments,
        description,
    )


def _fetched(asset: Asset, how: Fetching, quiet: bool) -> tuple[str, tuple[Fetched, ...] | DiffPCError]:
    """One asset; the fault of one does not keep the others from coming."""
    from diffpc.external.fetch import fetch

    @contextmanager
    def bar(name: str) -> Generator[Progress]:
        from tqdm import tqdm

        with tqdm(desc=name, unit="B", unit_scale=True, disable=True if quiet else None, leave=False) as line:

            def progress(done: int, total: int | None) -> None:
                line.total = total
                line.update(done - line.n)

            yield progress

    try:
        files = fetch(asset, how, bar)
    except DiffPCError as error:
        return asset.name, error
    if not quiet:
        unknown = "" if all(one.hashed for one in files) else ", hash unknown"
        ways = ", ".join(sorted({WAYS[one.how] for one in files}))
        print(f"{asset.name}: {ways}{unknown}")
    return asset.name, files


WAYS = {"there": "was here", "cache": "taken from the Hugging Face cache", "download": "downloaded"}


def _fetched_json(name: str, outcome: tuple[Fetched, ...] | DiffPCError) -> dict[str, Any]:
    if isinstance(outcome, DiffPCError):
        return {"name": name, "files": [], "fault": str(outcome)}
    files = [{"path": str(one.path), "how": one.how, "hashed": one.hashed} for one in outcome]
    return {"name": name, "files": files, "fault": None}


def _described(asset: Asset, findings: Sequence[Finding]) -> dict[str, Any]:
    from diffpc.external.verify import overall

    found = [{"path": str(one.path), "state": one.state, "detail": one.detail} for one in findings]
    files = [{**asdict(file), **seen} for file, seen in zip(asset.files, found, strict=True)]
    return {
        **asdict(asset),
        "source": {"kind": type(asset.source).__name__, **asdict(asset.source)},
        "files": files,
        "size": asset.size,
        "registration": asset.registration,
        "state": overall(findings),
    }


def _print_table(assets: Sequence[Asset], found: dict[str, tuple[Finding, ...]]) -> None:
    from diffpc.external.verify import overall

    rows = [("NAME", "STATE", "SIZE", "COMMERCIAL", "FOR")]
    rows += [
        (one.name, overall(found[one.name]), _asset_size(one), one.licence.commercial, one.purpose)
        for one in assets
    ]
    _print_columns(rows)


def _print_report(report: LicenceReport) -> None:
    rows = [("PART", "NAME", "COMMERCIAL", "LICENCE")]
    for one in report.parts:
        why = f"{one.licence.name}: {one.licence.why}" if one.licence.why else one.licence.name
        rows.append((one.role, one.name, one.licence.commercial, why))
    _print_columns(rows)
    print(f"\n{report.sentence}")


def _print_columns(rows: Sequence[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [f"{cell:<{width}}" for cell, width in zip(row[:-1], widths, strict=True)]
        print("  ".join([*cells, row[-1]]))


def _details(asset: Asset, findings: Sequence[Finding]) -> str:
    from diffpc.external.asset import ByHand
    from diffpc.external.fetch import address, by_hand

    terms = asset.licence
    why = f" ({terms.why})" if terms.why else ""
    lines = [
        f"{asset.name}: {asset.purpose}",
        f"  licence: {terms.name}; commercial use: {terms.commercial}{why}",
        f"  read by: {asset.read_by}",
    ]
    if isinstance(asset.source, ByHand):
        lines.append(f"  {by_hand(asset, asset.source)}")
    for one in findings:
        size = "size unknown" if one.file.size is None else _size(one.file.size)
        known = f"{size}, sha256 {one.file.sha256 or 'unknown'}"
        lines.append(f"  {one.path}: {one.state}{': ' + one.detail if one.detail else ''} ({known})")
        if not isinstance(asset.source, ByHand):
            lines.append(f"    from {address(asset.source, one.file, None)}")
    return "\n".join(lines)


def _asset_size(asset: Asset) -> str:
    """With a plus where the size of some file is not known."""
    more = "+" if asset.size is None else ""
    return _size(asset.known_size) + more if asset.known_size else "unknown"


def _size(size: int) -> str:
    return f"{size / 2**30:.2f} GiB" if size >= 2**30 else f"{size / 2**20:.1f} MiB"
