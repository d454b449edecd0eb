import numpy as np

from tools.face3d.make_labels import Label, largest, pack, photos, save


def label(name: str) -> Label:
    fractions = np.tile(np.array([0.5, 0.25, -0.1]), (478, 1))
    return pack(name, fractions, (200, 100), [0.0, 0.5, 1.0] + [0.25] * 49, np.eye(4))


def test_units_are_the_files():
    found = label("a.jpg")
    assert found.points[0].tolist() == [1600, 400, -320] and found.points.dtype == np.int16
    assert found.blendshapes[:3].tolist() == [0, 32768, 65535] and found.blendshapes.dtype == np.uint16
    assert found.pose.dtype == np.float32


def test_points_far_outside_are_clipped():
    found = pack("a.jpg", np.full((478, 3), 99.0), (4000, 3000), [0.0] * 52, np.eye(4))
    assert found.points.max() == 32767


def test_the_file_has_the_documented_layout(tmp_path):
    save(tmp_path / "out" / "landmarks.npz", [label("a/1.jpg"), label("b/2.jpg")])
    with np.load(tmp_path / "out" / "landmarks.npz") as found:
        assert {key: (found[key].shape, found[key].dtype.kind) for key in found.files} == {
            "image": ((2,), "U"),
            "points": ((2, 478, 3), "i"),
            "blendshapes": ((2, 52), "u"),
            "pose": ((2, 4, 4), "f"),
        }


def test_the_largest_face_is_chosen(random):
    small = random.random((478, 3)) * 0.1
    assert largest([small, small * 3, small * 2]) == 1


def test_photos_are_found_in_order(tmp_path):
    for name in ("b/2.JPG", "a/1.png", "a/notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert [path.relative_to(tmp_path).as_posix() for path in photos(tmp_path)] == ["a/1.png", "b/2.JPG"]
