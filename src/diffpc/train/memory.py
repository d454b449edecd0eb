"""How much memory a run has used."""

import resource
import sys

import torch


def peak_bytes(device: torch.device) -> int:
    """The most that was in use so far, of the GPU or else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def peak_memory(device: torch.device) -> str:
    """The same for people, in GiB."""
    return f"{peak_bytes(device) / 2**30:.1f}G"
