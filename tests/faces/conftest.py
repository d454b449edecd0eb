import pytest

from diffpc.errors import UsageError
from diffpc.faces.detect import load_detector
from diffpc.faces.embed import load_embedder


@pytest.fixture(scope="session")
def lfw(shared):
    """Paths of two photos each of a few persons."""
    folder = shared / "data" / "lfw" / "images"
    if not folder.is_dir():
        pytest.skip(f"no LFW photos at {folder}")
    names = ("Aaron_Peirsol", "Abdullah_Gul", "Adrien_Brody", "Al_Gore")
    return [(folder / name / f"{name}_0001.jpg", folder / name / f"{name}_0002.jpg") for name in names]


@pytest.fixture(scope="session")
def detector():
    try:
        return load_detector("dlib")
    except UsageError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def astronaut_face(detector, astronaut):
    return detector(astronaut)[0]


@pytest.fixture(scope="session")
def embedder():
    try:
        return load_embedder("dlib")
    except UsageError as error:
        pytest.skip(str(error))
