"""`--keep FOLDER`: what jobs drew, and of which photos, on the operator's disk."""

from __future__ import annotations

from pathlib import Path

from diffpc.files import atomic_write
from diffpc.images import write_png
from diffpc.serve.jobs import Result
from diffpc.serve.request import PortraitRequest


class Keeper:
    """Writes FOLDER/JOB/0.png ..., and the photos beside them as photo-0.png ..."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        # Faces are nobody else's business; a folder that is there keeps its rights.
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def __call__(self, request: PortraitRequest, job: str, results: tuple[Result, ...]) -> None:
        """Write one job's. A withheld portrait is not written.

        Raises:
            InputError: if the folder cannot be written.
        """
        for number, photo in enumerate(request.photos):
            write_png(self._folder / job / f"photo-{number}.png", photo.image)
        for number, result in enumerate(results):
            if not result.withheld:
                with atomic_write(self._folder / job / f"{number}.png") as stream:
                    stream.write(result.png)
