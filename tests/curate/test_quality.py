import numpy as np
import pytest

from diffpc.curate.quality import LightQuality, load_quality
from diffpc.curate.record import Listed, Record
from diffpc.errors import InputError, UsageError
from diffpc.faces.quality import face_quality, quality_features
from diffpc.types import Face

FACE = Face((90.0, 60.0, 190.0, 160.0), np.zeros((5, 2)), "eyes_nose_mouth", 1.0)


def test_the_own_measure_reads_the_record():
    measures = dict.fromkeys(("sharpness", "size", "exposure", "contrast"), 0.5)
    record = Record(
        Listed("a", "b", "", 0), b"", embedding=np.array([3.0, 4.0], np.float32), measures=measures
    )
    assert LightQuality()(record) == face_quality(quality_features(measures, 5.0))


def test_the_papers_network(tmp_path, record):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    # A network whose output is the mean of its input, shifted: what the seam feeds it shows in the score.
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["mean"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["y"]),
    ]
    one = helper.make_tensor("one", onnx.TensorProto.INT64, [1], [1])
    graph = helper.make_graph(
        nodes,
        "quality",
        [helper.make_tensor_value_info("x", kind, [1, 3, 112, 112])],
        [helper.make_tensor_value_info("y", kind, [1, 1])],
        [one],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, str(tmp_path / "fqa.onnx"))
    points = np.array([[120.0, 95.0], [160.0, 95.0], [140.0, 120.0], [125.0, 140.0], [155.0, 140.0]])
    face = Face((90.0, 60.0, 190.0, 160.0), points, "eyes_nose_mouth", 1.0)
    measure = load_quality("fqa", str(tmp_path / "fqa.onnx"))
    for level, expected in ((255, 1.0), (191, 0.498), (0, 0.0)):  # (x / 255 - 0.5) / 0.5, within [0, 1]
        record = Record(record.listed, b"", np.full((280, 280, 3), level, np.uint8), face)
        assert measure(record) == pytest.approx(expected, abs=0.01)


def test_what_the_measures_need(tmp_path):
    with pytest.raises(UsageError, match="fqa needs its network"):
        load_quality("fqa", "")
    with pytest.raises(UsageError, match="takes no weights"):
        load_quality("light", "file")
    with pytest.raises(InputError, match="no such file"):
        load_quality("fqa", str(tmp_path / "nowhere.onnx"))
    pytest.importorskip("onnxruntime")
    (tmp_path / "bad.onnx").write_bytes(b"no network")
    with pytest.raises(InputError, match=r"bad\.onnx: is no ONNX network"):
        load_quality("fqa", str(tmp_path / "bad.onnx"))
