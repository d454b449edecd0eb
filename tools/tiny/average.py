"""Average the weights of models that were trained from one another: model soups (arXiv 2203.05482).

python -m tools.tiny.average --output models/tiny models/before=0.34 models/after=0.66
"""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from diffpc.errors import UsageError
from diffpc.files import atomic_path
from diffpc.weights import load_weights, weight_metadata


@dataclass(frozen=True)
class Share:
    """A model and how much of it is in the average."""

    folder: Path
    weight: float


def average(shares: Sequence[Share], output: Path) -> None:
    """Write a model like the first, with the weighed mean of all weights.

    Args:
        shares: models of one layout; their weights sum to 1.
        output: a new folder.

    Raises:
        UsageError: if it exists, or the models do not fit.
        InputError: if a file is missing or broken.
    """
    if output.exists():
        raise UsageError(f"{output} exists; name a new folder")
    if abs(sum(one.weight for one in shares) - 1) > 1e-6:
        raise UsageError("the shares do not sum to 1")
    with atomic_path(output) as folder:
        shutil.copytree(shares[0].folder, folder, dirs_exist_ok=True)
        for file in sorted(folder.rglob("*.safetensors")):
            name = file.relative_to(folder)
            parts = [load_weights(one.folder / name, dtype=None) for one in shares]
            found = mean(parts, [one.weight for one in shares])
            save_file(found, file, metadata=weight_metadata(file))


def mean(parts: Sequence[dict[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """Tensor by tensor; what is the same in all parts stays the same, bit for bit.

    Raises:
        UsageError: if names or shapes differ.
    """
    layouts = [{key: value.shape for key, value in part.items()} for part in parts]
    if any(layout != layouts[0] for layout in layouts):
        raise UsageError("the models have different layouts")
    found: dict[str, Tensor] = {}
    for key, first in parts[0].items():
        if all(torch.equal(part[key], first) for part in parts):
            found[key] = first
            continue
        terms = [weight * part[key].float() for part, weight in zip(parts, weights, strict=True)]
        found[key] = sum(terms, torch.zeros(())).to(first.dtype)
    return found


def main() -> None:
    """Read the shares and write the average."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("shares", nargs="+", metavar="FOLDER=SHARE")
    parser.add_argument("--output", type=Path, required=True)
    given = parser.parse_args()
    pairs = [one.rpartition("=") for one in given.shares]
    average([Share(Path(folder), float(weight)) for folder, _, weight in pairs], given.output)


if __name__ == "__main__":
    main()
