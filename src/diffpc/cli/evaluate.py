"""`diffpc evaluate`: one action after the other, each resumable by the same command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from diffpc.cli.output import overview
from diffpc.errors import UsageError

ACTIONS = {
    "build": "choose persons, targets and prompts: photos -> a manifest",
    "draw": "draw a manifest's portraits with Diff-PC or a baseline",
    "score": "look at the pictures of any system and measure them",
    "report": "one page, Markdown and CSV of scored systems",
    "study": "a page that asks people, with pictures in random order",
    "votes": "what people answered to a study",
    "ablate": "train, draw and score the variants of the paper's Tables 4 to 7",
    "calibrate": "choose an embedder's threshold on official pairs of photos",
}
"""name -> what it does. Each is a function of its name in `evaluate_actions`."""

MODULES = {"ablate": "diffpc.cli.ablate"}
"""Where an action is, if not in `evaluate_actions`."""


def run(arguments: Sequence[str]) -> int:
    """Do one step of an evaluation."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_help(), file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0] not in ACTIONS:
        raise UsageError(f"unknown action {arguments[0]!r}; choose one of: {', '.join(ACTIONS)}")
    module = MODULES.get(arguments[0], "diffpc.cli.evaluate_actions")
    action: Callable[[Sequence[str]], int] = getattr(import_module(module), arguments[0])
    return action(arguments[1:])


def _help() -> str:
    return overview(
        "diffpc evaluate ACTION [OPTIONS]",
        "Measure how well portraits obey; run the same command again to go on after a stop.",
        "actions",
        ACTIONS,
        "`diffpc evaluate ACTION --help` lists the options.",
    )
