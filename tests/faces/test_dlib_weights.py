import numpy as np
import pytest

from diffpc.errors import InputError, UsageError
from diffpc.faces.assets import dlib_model
from diffpc.faces.dlib_weights import _Reader, read_dlib_network


@pytest.fixture(scope="module")
def official():
    try:
        return dlib_model("dlib_face_recognition_resnet_model_v1.dat")
    except UsageError as error:
        pytest.skip(str(error))


def reader(text):
    return _Reader(bytes.fromhex(text), "bytes")


@pytest.mark.parametrize(
    ("text", "value"), [("00", 0), ("0105", 5), ("028012", 0x1280), ("811c", -28), ("0308070605", 0x060708)]
)
def test_integers(text, value):
    assert reader(text).integer() == value


@pytest.mark.parametrize(("text", "value"), [("030ad7a3811c", 0.04), ("039a99998118", 0.6), ("00010b", 0.0)])
def test_reals(text, value):
    assert reader(text).real() == pytest.approx(value, rel=1e-6)


def test_tensors_are_little_endian_floats():
    values = np.array([1.5, -2, 0.25, 8, 9, 10], "<f4")
    assert np.array_equal(
        reader("0102" + "0102" + "0103" + "0101" * 2 + values.tobytes().hex()).tensor(), values
    )


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("10", "integer"),
        ("0905", "integer"),
        ("0480", "integer"),
        ("0105" + "026400", "tensor"),
        ("0102" + "81010101010101010101", "tensor"),
        ("0102" + "04ffffff7f" * 4, "tensor"),
        ("0102" + "0101" * 4 + "0000c07f", "tensor"),
        ("01ff", "text"),
        ("0105", "text"),
        ("0102" + "ffff", "text"),
        ("0101" + "02ff7f", "real"),
    ],
)
def test_impossible_values_are_refused(text, call):
    with pytest.raises(InputError, match="damaged or not a supported"):
        getattr(reader(text), call)()


def test_the_official_network_is_read_to_its_last_byte(official):
    network = read_dlib_network(official)
    assert network.input_size == (150, 150)
    assert network.mean == pytest.approx((122.782, 117.001, 104.298), abs=1e-5)
    kinds = [layer.kind for layer in network.layers]
    assert (kinds.count("con"), kinds.count("add_prev"), kinds[-1]) == (29, 14, "fc_no_bias")
    assert network.layers[0].sizes == (32, 7, 7, 2, 2, 0, 0)


@pytest.mark.parametrize("share", [0.0, 1e-6, 1e-5, 0.001, 0.5, 0.9999999])
def test_truncated_files_are_refused(official, tmp_path, share):
    whole = official.read_bytes()
    path = tmp_path / "cut.dat"
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match="damaged"):
        read_dlib_network(path)


def test_other_files_are_refused(official, tmp_path):
    path = tmp_path / "other.dat"
    path.write_bytes(official.read_bytes() + b"\x00")
    with pytest.raises(InputError, match="damaged"):
        read_dlib_network(path)
    path.write_bytes(b"PK\x03\x04 a zip file, say")
    with pytest.raises(InputError, match="damaged"):
        read_dlib_network(path)
    with pytest.raises(InputError, match="does not exist"):
        read_dlib_network(tmp_path / "none.dat")
