"""How much memory a run has used."""

import resource
import sys

import torch


def peak_memory(device: torch.device) -> str:
    """The most that was in use so far, of the GPU or else of the process."""
    if device.type == "cuda":
        return f"{torch.cuda.max_memory_allocated(device) / 2**30:.1f}G"
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kB elsewhere
    return f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30:.1f}G"
