"""The two backends over a synthetic pack, against insightface itself."""

import cv2
import numpy as np
import pytest

from diffpc.errors import InputError, UsageError
from diffpc.faces.detect import load_detector
from diffpc.faces.embed import embed_faces, load_embedder
from diffpc.faces.iresnet import IResNetSettings

pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
pytest.importorskip("insightface")

from insightface.app.common import Face as TheirFace  # noqa: E402
from insightface.model_zoo.arcface_onnx import ArcFaceONNX  # noqa: E402
from insightface.model_zoo.scrfd import SCRFD  # noqa: E402

from .onnx_models import random_iresnet, save_iresnet, save_scrfd  # noqa: E402

CPU = ["CPUExecutionProvider"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("assets")
    pack = root / "antelopev2" / "antelopev2"  # nested, as in the official zip
    pack.mkdir(parents=True)
    save_scrfd(pack / "scrfd_10g_bnkps.onnx")
    settings = IResNetSettings(stem_width=4, widths=(4, 6, 8, 8), depths=(1, 1, 2, 1), dimension=16)
    save_iresnet(random_iresnet(settings), pack / "glintr100.onnx")
    return root


def decode(path, image):
    """SCRFD's decoding written afresh: candidates, sorted by score, before suppression."""
    height, width = image.shape[:2]
    scale = 640 / max(height, width)
    size = (int(width * scale), int(height * scale))
    canvas = np.zeros((640, 640, 3), np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(image, size)
    blob = ((canvas.astype(np.float32) - 127.5) / 128).transpose(2, 0, 1)[None]
    outputs = onnxruntime.InferenceSession(str(path), providers=CPU).run(None, {"input": blob})
    found = []
    for level, stride in enumerate((8, 16, 32)):
        scores, boxes, points = (outputs[level + 3 * part] for part in range(3))
        y, x = np.mgrid[: 640 // stride, : 640 // stride]
        centres = np.repeat(np.stack([x, y], -1).reshape(-1, 2) * stride, 2, axis=0)
        boxes = np.concatenate([centres - boxes[:, :2] * stride, centres + boxes[:, 2:] * stride], 1)
        points = centres[:, None] + points.reshape(-1, 5, 2) * stride
        keep = scores[:, 0] >= 0.5
        found += zip(scores[keep, 0], boxes[keep] / scale, points[keep] / scale, strict=True)
    return sorted(found, key=lambda item: -item[0])


def test_the_detector_gives_scrfds_faces_in_our_terms(root, astronaut):
    faces = load_detector("insightface", root=root)(astronaut)
    assert len(faces) > 3
    assert [face.area for face in faces] == sorted((face.area for face in faces), reverse=True)
    assert min(face.score for face in faces) >= 0.5
    candidates = decode(root / "antelopev2" / "antelopev2" / "scrfd_10g_bnkps.onnx", astronaut)
    best = max(faces, key=lambda face: face.score)
    assert best.score == pytest.approx(float(candidates[0][0]), abs=1e-5)
    for face in faces:
        nearest = min(candidates, key=lambda item: np.abs(np.array(face.box) - item[1]).max())
        assert np.allclose(face.box, nearest[1], atol=1e-2)
        assert np.allclose(face.landmarks, nearest[2], atol=1e-2)


def test_nothing_found_is_an_empty_tuple(root):
    black = np.zeros((64, 64, 3), np.uint8)
    detector = load_detector("insightface", root=root)
    detector._scrfd.det_thresh = 1.1
    assert detector(black) == ()


def test_the_embedder_is_arcface(root, astronaut):
    path = root / "antelopev2" / "antelopev2" / "glintr100.onnx"
    theirs = ArcFaceONNX(str(path), onnxruntime.InferenceSession(str(path), providers=CPU))
    face = load_detector("insightface", root=root)(astronaut)[0]
    points = np.array([[200, 110], [246, 108], [224, 133], [205, 155], [244, 154]], float)
    face = type(face)(face.box, points, "eyes_nose_mouth", 1.0)
    expected = theirs.get(np.ascontiguousarray(astronaut[:, :, ::-1]), TheirFace(kps=points))
    embedder = load_embedder("arcface", root=root)
    ours = embed_faces(embedder, astronaut, [face])[0].numpy()
    assert embedder.dimension == 16
    assert np.abs(ours - expected).max() < 2e-3 * np.abs(expected).max()


def test_missing_and_damaged_files_say_what_to_do(root, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("DIFFPC_ASSETS", raising=False)
    with pytest.raises(InputError, match=r"diffpc assets fetch antelopev2.*DIFFPC_ASSETS"):
        load_detector("insightface")
    with pytest.raises(UsageError, match="is no folder"):
        load_embedder("arcface", root=tmp_path / "none")
    (tmp_path / "scrfd_10g_bnkps.onnx").write_bytes(b"not onnx")
    with pytest.raises(InputError, match="damaged"):
        load_detector("insightface", root=tmp_path)
    monkeypatch.setenv("DIFFPC_ASSETS", str(root))
    assert isinstance(load_detector("insightface")._scrfd, SCRFD)
