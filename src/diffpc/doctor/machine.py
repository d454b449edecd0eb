"""Interpreter, devices, memory, disk, threads."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from diffpc.doctor.report import Check, Examination
from diffpc.doctor.run import Options
from diffpc.external.places import assets_root

OLDEST = (3, 11)
LEAST_MEMORY = 2 * 2**30
"""Bytes that drawing with the bundled model takes, with room."""
LEAST_DISK = 2**30

_GROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def machine_checks(options: Options) -> Mapping[str, Examination]:  # noqa: ARG001 - the areas' common form
    """Name -> check."""
    return {
        "python": _python,
        "platform": _platform,
        "torch": _torch,
        "cuda": _cuda,
        "mps": _mps,
        "memory": _memory,
        "disk": _disk,
        "threads": _threads,
    }


def memory_bytes() -> int | None:
    """Of the machine, or of the container if that may use less; None if the system does not tell."""
    known: list[int] = []
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        known.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for place in map(Path, _GROUP_LIMITS):
        text = place.read_text(encoding="ascii").strip() if place.is_file() else ""
        known += [int(text)] if text.isdecimal() else []
    return min(known) if known else None


def _python() -> Check:
    found = f"{platform.python_version()} at {sys.executable}"
    if sys.version_info < OLDEST:
        return Check("python", "broken", f"{found}; 3.11 or newer is needed")
    return Check("python", "ok", found)


def _platform() -> Check:
    return Check("platform", "ok", platform.platform())


def _torch() -> Check:
    import torch

    total = torch.ones(2, 2).sum().item()
    status = "ok" if total == 4 else "broken"
    return Check(
        "torch", status, f"{torch.__version__}, draws on {'cuda' if torch.cuda.is_available() else 'cpu'}"
    )


def _cuda() -> Check:
    import torch

    if not torch.cuda.is_available():
        return Check("cuda", "absent", "no CUDA device, or a torch without CUDA")
    names: list[str] = []
    for number in range(torch.cuda.device_count()):
        torch.ones(2, 2, device=f"cuda:{number}").sum().item()  # a device may be there and not work
        known = torch.cuda.get_device_properties(number)
        names.append(f"cuda:{number} {known.name}, {_gib(known.total_memory)}")
    return Check("cuda", "ok", "; ".join(names))


def _mps() -> Check:
    import torch

    if not torch.backends.mps.is_available():
        return Check("mps", "absent", "no Apple GPU")
    torch.ones(2, 2, device="mps").sum().item()
    return Check("mps", "ok", "Apple GPU")


def _memory() -> Check:
    known = memory_bytes()
    if known is None:
        return Check("memory", "ok", "not told by this system")
    if known < LEAST_MEMORY:
        return Check("memory", "warning", f"{_gib(known)}; drawing wants {_gib(LEAST_MEMORY)}")
    return Check("memory", "ok", _gib(known))


def _disk() -> Check:
    folder = assets_root()
    there = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(there).free
    found = f"{_gib(free)} free for {folder}"
    if free < LEAST_DISK:
        return Check("disk", "warning", f"{found}; make room, or set DIFFPC_ASSETS to a folder elsewhere")
    return Check("disk", "ok", found)


def _threads() -> Check:
    import torch

    asked = os.environ.get("OMP_NUM_THREADS")
    said = f", OMP_NUM_THREADS={asked}" if asked else ""
    return Check("threads", "ok", f"{torch.get_num_threads()} of {os.cpu_count()} processors{said}")


def _gib(count: int) -> str:
    return f"{count / 2**30:.1f} GiB"
