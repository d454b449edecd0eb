import pytest

from diffpc.errors import InputError
from diffpc.faces.assets import dlib_model, insightface_model


@pytest.mark.parametrize(
    "place", [".", "antelopev2", "antelopev2/antelopev2", "models/antelopev2", "models/antelopev2/antelopev2"]
)
def test_the_pack_is_found_at_any_usual_depth(tmp_path, place):
    folder = tmp_path / place
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "glintr100.onnx").touch()
    assert insightface_model("glintr100.onnx", tmp_path).samefile(folder / "glintr100.onnx")


def test_the_variable_names_the_root(tmp_path, monkeypatch):
    (tmp_path / "x.onnx").touch()
    monkeypatch.setenv("DIFFPC_ASSETS", str(tmp_path))
    assert insightface_model("x.onnx") == tmp_path / "x.onnx"


def test_the_data_package_is_located_without_importing_it():
    import sys

    pytest.importorskip("dlib")
    path = dlib_model("shape_predictor_5_face_landmarks.dat")
    assert path.stat().st_size > 1_000_000
    assert "face_recognition_models" not in sys.modules
    with pytest.raises(InputError, match=r"none\.dat is missing; run: pip install"):
        dlib_model("none.dat")


def test_what_was_fetched_without_the_variable_is_found(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DIFFPC_ASSETS", raising=False)
    folder = tmp_path / ".cache" / "diffpc" / "models" / "antelopev2"
    folder.mkdir(parents=True)
    (folder / "glintr100.onnx").touch()
    assert insightface_model("glintr100.onnx") == folder / "glintr100.onnx"
