"""A process of its own for one photo under suspicion: `python -m diffpc.curate.trial`, question on stdin."""

from __future__ import annotations

import json
import sys

from diffpc.curate.record import Listed
from diffpc.curate.settings import PhotoSettings
from diffpc.curate.tools import load_tools
from diffpc.curate.worker import look_at
from diffpc.settings import from_dict


def main() -> None:
    """Look at the photo; nothing is kept of it, only that the process lived."""
    question = json.load(sys.stdin)
    listed = question["listed"]
    for name in ("rect", "rect_frame"):
        listed[name] = listed[name] and tuple(listed[name])
    look_at(Listed(**listed), load_tools(from_dict(PhotoSettings, question["settings"])))


if __name__ == "__main__":
    main()
