"""The command line: reads options, prints results. `--help` imports no network library."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module

from diffpc.cli.output import overview
from diffpc.errors import DiffPCError

INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

UNHEARD = 141
"""128 + SIGPIPE: whoever read our output stopped reading."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code: 0 done, 1 a fault of ours, 2 usage, 3 input, 4 some jobs of a
    batch failed, 130 interrupted, 141 nobody reads the output."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if arguments is None and "--debug" not in given:
        sys.excepthook = report_fault
    try:
        code = _command(given)
        sys.stdout.flush()
        return code
    except BrokenPipeError:  # `diffpc ... | head`; the interpreter's own flush at the end must not fail again
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNHEARD
    except DiffPCError as error:
        print(f"diffpc: {_line(str(error))}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("diffpc: interrupted", file=sys.stderr)
        return INTERRUPTED


def report_fault(kind: type[BaseException], fault: BaseException, _trace: object) -> None:
    """The `sys.excepthook` of the command: one line for what should not have happened."""
    print(
        f"diffpc: unexpected {kind.__name__}: {_line(str(fault))}; please report it with what --debug shows",
        file=sys.stderr,
    )


COMMANDS = {
    "generate": "draw portraits: photo + pose and expression + prompt -> PNG",
    "identity": "make and show identity files: photos of a person -> one file to draw with",
    "curate": "make a training set with same-person pairs from photos of persons",
    "train": "train an adapter, or the bundled model, on photos of persons",
    "export": "make an adapter's file, or a whole model, of a training run",
    "serve": "a web page and a REST API that draw portraits",
    "evaluate": "measure portraits on a benchmark: build, draw, score, report",
    "bench": "measure speed on this machine: generate, train, curate, start-up",
    "assets": "list, fetch and verify the files that diffpc does not ship; licence reports",
    "doctor": "check this machine, the files and the bundled model, and say what mends it",
}
"""name -> what it does. The command's module here has its name, and in it `run(arguments) -> exit code`."""


def _command(given: list[str]) -> int:
    if not given or given[0] in ("-h", "--help"):
        print(_help(), file=sys.stdout if given else sys.stderr)
        return 0 if given else 2
    if given[0] == "--version":
        from importlib.metadata import version

        print(f"diffpc {version('diffpc')}")
        return 0
    if given[0] not in COMMANDS:
        print(f"diffpc: unknown command {given[0]!r}; choose one of: {', '.join(COMMANDS)}", file=sys.stderr)
        return 2
    run: Callable[[Sequence[str]], int] = import_module(f"diffpc.cli.{given[0]}").run
    return run(given[1:])


def _help() -> str:
    return overview(
        "diffpc COMMAND [OPTIONS]",
        "Portraits that keep a person's identity and obey a 3D face and a text.",
        "commands",
        COMMANDS,
        "`diffpc COMMAND --help` lists the options; `diffpc --version` prints the version.",
    )


def _line(text: str) -> str:
    return " ".join(text.split())
