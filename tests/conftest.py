"""What every test shares. The import hook comes first: it checks only modules imported after it."""

import os
from collections.abc import Iterator
from functools import cache

from jaxtyping import install_import_hook

install_import_hook("diffpc", "beartype.beartype")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # tests never download: a wrong name fails at once

from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402

from diffpc.images import read_image  # noqa: E402
from diffpc.types import Image  # noqa: E402

ROOT = Path(__file__).parents[1]

LONGEST = (
    "tests/curate/test_run.py",
    "tests/serve/page/test_browser.py",
    "tests/train/test_export.py",
    "tests/train/test_run.py",
    "tests/serve/test_ray_painter.py",
    "tests/train/test_loop.py",
    "tests/evaluate/test_ablation.py",
    "tests/serve/test_cli.py",
)
"""They come first: of several workers, none may be left with one of these when the others have nothing to do."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full-size", action="store_true", help="also run the tests that need SDXL's full size")


def pytest_configure() -> None:
    torch.set_num_threads(1)  # small tensors: more threads cost more in waiting than they save


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _turn(item.nodeid.partition("::")[0]))
    if config.getoption("--full-size"):
        return
    skip = pytest.mark.skip(reason="needs the memory for SDXL at full size; opt in with --full-size")
    for item in items:
        if "full_size" in item.keywords:
            item.add_marker(skip)


def _turn(file: str) -> int:
    return LONGEST.index(file) if file in LONGEST else len(LONGEST)


@pytest.fixture(scope="session", autouse=True)
def read_once() -> Iterator[None]:
    """dlib's network is the same in every model of a test, and reading it under the checks of types takes a second."""
    from diffpc.faces import dlib_resnet

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dlib_resnet, "read_dlib_network", cache(dlib_resnet.read_dlib_network))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of shared data and reference manifests, which a plain clone does not have."""
    folder = Path(os.environ.get("DIFFPC_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"no shared data at {folder}; set DIFFPC_SHARED to their folder")
    return folder


@pytest.fixture(scope="session")
def astronaut_path() -> Path:
    """A real photo with one face looking at the camera (NASA, public domain)."""
    return ROOT / "examples" / "astronaut.jpg"


@pytest.fixture(scope="session")
def astronaut(astronaut_path: Path) -> Image:
    """That photo's pixels: 512 x 512, RGB, uint8, read-only so that no test spoils it for the others."""
    image = read_image(astronaut_path)
    image.setflags(write=False)
    return image


@pytest.fixture
def random() -> np.random.Generator:
    """A fresh generator with the same seed for every test."""
    return np.random.default_rng(0)


@pytest.fixture(scope="session")
def random_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a whole model at the bundled size with random weights; treat it as read-only."""
    from tests.pipelines import random_pipeline

    folder = tmp_path_factory.mktemp("model") / "random"
    random_pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def kept_models() -> Iterator[None]:
    """All of `diffpc generate` has one model in memory: for modules about what it draws, not how it loads."""
    from diffpc.generate.session import Session

    kept, model = Session(), Session.model
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Session, "model", lambda _, request: model(kept, request))
        yield


@pytest.fixture
def other_precision():
    """Accelerate knows one precision per process; a test of another one leaves none behind."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state()
    yield
    AcceleratorState._reset_state()
