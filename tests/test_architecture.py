"""The rules of CONTRIBUTING.md, over the syntax trees: imports point one way, files stay small."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.conftest import LONGEST, ROOT

SOURCE = ROOT / "src" / "diffpc"

# From the ground floor up. A room imports itself and what is below; two rooms of one floor never import each
# other, except on the ground floor. "" is diffpc/__init__.py, the public names.
GROUND = {"types", "settings", "presets", "errors", "backends", "photos", "imports"}
GROUND |= {"files", "images", "tensors", "weights", "provenance", "records", "sealed", "libraries"}
GROUND |= {"changes", "distilled", "networks"}
FLOORS = (
    GROUND,
    {"external"},
    {"faces"},
    {"face3d", "identity"},
    {"diffusion"},
    {"framing"},
    {"eyes", "face_pass"},
    {"portrait"},
    {"person"},
    {"pipeline"},
    {"adapter_file", "identity_file", "loras", "memory", "places"},
    {"base"},
    {"loading"},
    {""},
    {"generate", "train", "curate", "evaluate", "serve", "doctor"},
    {"bench"},
    {"cli"},
)  # fmt: skip
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}

MAX_LINES = 400
BACKEND = re.compile(r"diffpc\.(\w+)[\w.]*:\w+")
"""An entry of a backend table: an import in all but syntax."""


def room_of(path: Path, source: Path) -> str:
    return path.relative_to(source).with_suffix("").parts[0].replace("__init__", "")


def imported_rooms(path: Path, source: Path) -> Iterator[str]:
    """The rooms that the file imports anywhere in it, also inside functions and for type checking."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (room for alias in node.names for room in rooms(alias.name, [], source))
        elif isinstance(node, ast.ImportFrom):
            yield from rooms(absolute(node, path, source), [alias.name for alias in node.names], source)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            match = BACKEND.fullmatch(node.value)
            yield from [match[1]] if match else []


def absolute(node: ast.ImportFrom, path: Path, source: Path) -> str:
    if node.level == 0:
        return node.module or ""
    package = ("diffpc", *path.relative_to(source).parts[:-1])
    above = package[: len(package) - node.level + 1]
    return ".".join([*above, *([node.module] if node.module else [])])


def rooms(module: str, names: list[str], source: Path) -> Iterator[str]:
    """The rooms behind `import module` or `from module import names`."""
    parts = module.split(".")
    if parts[0] != "diffpc":
        return
    if len(parts) > 1:
        yield parts[1]
        return
    for name in names or [""]:
        is_room = (source / name).is_dir() or (source / f"{name}.py").is_file()
        yield name if is_room else ""


def violations(source: Path) -> list[str]:
    """One line per file that is in no known room, or imports what it must not."""
    found: list[str] = []
    for path in sorted(source.rglob("*.py")):
        room, place = room_of(path, source), path.relative_to(source).as_posix()
        if room not in LEVEL:
            found.append(f"{place}: unknown room; give it a floor in tests/test_architecture.py")
            continue
        for other in sorted(set(imported_rooms(path, source)) - {room}):
            below = other in LEVEL and LEVEL[other] < LEVEL[room]
            if not below and not {room, other} <= GROUND:
                found.append(f"{place}: {room or '__init__'} must not import {other or '__init__'}")
    return found


def print_calls(source: Path) -> list[str]:
    return [
        f"{path.relative_to(source).as_posix()}:{node.lineno}"
        for path in sorted(source.rglob("*.py"))
        if room_of(path, source) != "cli"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    ]


def test_imports_point_one_way() -> None:
    assert violations(SOURCE) == []


def test_files_stay_small() -> None:
    lengths = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCE.rglob("*.py")}
    assert {name: length for name, length in lengths.items() if length >= MAX_LINES} == {}


def test_the_files_that_begin_a_test_run_are_there() -> None:
    assert [name for name in LONGEST if not (ROOT / name).is_file()] == []


def test_only_the_command_line_prints() -> None:
    assert print_calls(SOURCE) == []


@pytest.mark.parametrize(
    "module", ["diffpc", "diffpc.types", "diffpc.images", "diffpc.provenance", "diffpc.cli"]
)
def test_import_loads_no_torch(module: str) -> None:
    if find_spec(module) is None:
        pytest.skip(f"{module} is not written yet")
    heavy = "{'torch', 'diffusers', 'transformers', 'cv2', 'dlib'}"
    program = f"import sys, {module}; print(sorted({heavy} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def write_tree(source: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text(text)


LAWFUL = {
    "__init__.py": "from diffpc.pipeline import DiffPCPipeline",
    "types.py": "from . import errors",
    "errors.py": "",
    "faces/__init__.py": "from diffpc import types\nfrom .detect import x",
    "faces/detect.py": "from ..errors import y\nimport torch\nTABLE = {'dlib': 'diffpc.faces.dlib:make'}",
    "face3d/__init__.py": "import diffpc.faces.detect",
    "pipeline.py": "from diffpc.face3d import z",
    "train/__init__.py": "from diffpc import DiffPCPipeline",
    "cli.py": "def main():\n    from diffpc.train import t\n    print(t)",
}


def test_a_lawful_tree_passes(tmp_path: Path) -> None:
    write_tree(tmp_path, LAWFUL)
    assert violations(tmp_path) == []
    assert print_calls(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("types.py", "from diffpc.faces import x", "types must not import faces"),
        ("faces/detect.py", "def f():\n    import diffpc.pipeline", "faces must not import pipeline"),
        ("faces/detect.py", "from .. import cli", "faces must not import cli"),
        ("faces/detect.py", "from ..face3d.model import x", "faces must not import face3d"),
        ("faces/detect.py", "T = {'a': 'diffpc.face3d.model:make'}", "faces must not import face3d"),
        ("face3d/model.py", "from diffpc.identity import x", "face3d must not import identity"),
        ("face3d/model.py", "from diffpc import identity", "face3d must not import identity"),
        ("train/loop.py", "from diffpc.evaluate.metrics import x", "train must not import evaluate"),
        ("pipeline.py", "from diffpc import DiffPCPipeline", "pipeline must not import __init__"),
        (
            "faces/detect.py",
            "if TYPE_CHECKING:\n    from diffpc.serve import x",
            "faces must not import serve",
        ),
        ("misc.py", "", "unknown room"),
        ("types.py", "from diffpc.misc import x", "types must not import misc"),
    ],
)
def test_each_break_is_found(tmp_path: Path, name: str, text: str, message: str) -> None:
    write_tree(tmp_path, {**LAWFUL, "identity/__init__.py": "", name: text})
    found = violations(tmp_path)
    assert len(found) == 1 and found[0].startswith(f"{name}: ") and message in found[0]


def test_a_print_is_found(tmp_path: Path) -> None:
    write_tree(tmp_path, {**LAWFUL, "faces/detect.py": "x = 1\nprint(x)"})
    assert print_calls(tmp_path) == ["faces/detect.py:2"]
