"""The packages that diffpc needs, and by extra those that it can use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib import metadata

from packaging.requirements import Requirement

from diffpc.doctor.report import Check, Examination
from diffpc.doctor.run import Options

_FOR_DEVELOPERS = ("test", "check")


def package_checks(options: Options) -> Mapping[str, Examination]:  # noqa: ARG001 - the areas' common form
    """Name -> check: all needed packages as "needed", the others by extra."""
    groups = requirements()
    checks: dict[str, Examination] = {"needed": partial(_needed, groups.pop("", ()))}
    return checks | {extra: partial(_extra, extra, wanted) for extra, wanted in groups.items()}


def requirements() -> dict[str, Sequence[Requirement]]:
    """Extra ("" for none) -> what it requires on this machine, as the installed diffpc declares it."""
    declared = metadata.metadata("diffpc").get_all("Provides-Extra") or []
    listed = [Requirement(text) for text in metadata.requires("diffpc") or ()]
    groups: dict[str, Sequence[Requirement]] = {"": [one for one in listed if _applies(one, "")]}
    for extra in (str(one) for one in declared if one not in _FOR_DEVELOPERS):
        groups[extra] = [one for one in listed if not _applies(one, "") and _applies(one, extra)]
    return groups


def fault_of(wanted: Requirement) -> str | None:
    """Why a requirement is not met."""
    try:
        found = metadata.version(wanted.name)
    except metadata.PackageNotFoundError:
        return f"{wanted.name} is not installed"
    if not wanted.specifier.contains(found, prereleases=True):
        return f"{wanted.name} is {found}, {wanted.specifier} is needed"
    return None


def _applies(wanted: Requirement, extra: str) -> bool:
    return wanted.marker is None or wanted.marker.evaluate({"extra": extra})


def _needed(wanted: Sequence[Requirement]) -> Check:
    faults = [fault for fault in map(fault_of, wanted) if fault]
    if not faults:
        return Check("needed", "ok", f"{len(wanted)} packages")
    missing = " ".join(f"'{one.name}{one.specifier}'" for one in wanted if fault_of(one))
    return Check("needed", "broken", "; ".join(faults), f"pip install {missing}")


def _extra(extra: str, wanted: Sequence[Requirement]) -> Check:
    faults = [fault for fault in map(fault_of, wanted) if fault]
    if not faults:
        return Check(extra, "ok", ", ".join(f"{one.name} {metadata.version(one.name)}" for one in wanted))
    status = "absent" if all(fault.endswith("is not installed") for fault in faults) else "warning"
    return Check(extra, status, "; ".join(faults), f"pip install 'diffpc[{extra}]'")
