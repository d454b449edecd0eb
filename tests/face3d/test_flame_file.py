import os
import pickle
import struct
import sys
import types
from dataclasses import fields
from typing import ClassVar

import numpy as np
import pytest
import scipy.sparse
import torch

from diffpc.errors import InputError
from diffpc.face3d.flame import FlameLayer
from diffpc.face3d.flame_file import load_flame, read_official, save_flame

V = 9


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2's `str`, as in the files of FLAME."""

    def save_bytes(self, value):
        self.write(b"T" + struct.pack("<i", len(value)) + value)

    dispatch: ClassVar = {**pickle._Pickler.dispatch, bytes: save_bytes}


def dumps(value, path, protocol=2, pickler=Python2Pickler):
    with path.open("wb") as file:
        pickler(file, protocol).dump(value)
    content = path.read_bytes()
    if protocol < 3:  # the old name of the module; global names end with a line feed, so lengths may change
        content = content.replace(b"cnumpy._core.multiarray\n", b"cnumpy.core.multiarray\n")
    path.write_bytes(content)


@pytest.fixture
def stand_ins(monkeypatch):
    """Classes that pickle under chumpy's and scipy's old names."""

    def stand_in(module_name, name):
        kind = type(name, (), {"__module__": module_name})
        module = types.ModuleType(module_name)
        setattr(module, name, kind)
        monkeypatch.setitem(sys.modules, module_name, module)
        return kind

    for package in ("chumpy", "scipy.sparse"):
        if package not in sys.modules:
            monkeypatch.setitem(sys.modules, package, types.ModuleType(package))
    return stand_in("chumpy.ch", "Ch"), stand_in("scipy.sparse.csc", "csc_matrix")


@pytest.fixture
def arrays():
    generator = np.random.default_rng(0)
    regressor = generator.random((5, V)) * (generator.random((5, V)) > 0.5)
    parents = np.array([2**32 - 1, 0, 1, 1, 1], dtype=np.uint32)
    return {
        "f": generator.integers(0, V, (7, 3)).astype(np.uint32),
        "v_template": generator.random((V, 3)),
        "shapedirs": generator.random((V, 3, 400)),
        "posedirs": generator.random((V, 3, 36)),
        "weights": generator.random((V, 5)),
        "J_regressor": regressor,
        "kintree_table": np.stack([parents, np.arange(5, dtype=np.uint32)]),
        "J": generator.random((5, 3)),
        "bs_style": "lbs",
        "bs_type": "lrotmin",
    }


@pytest.fixture
def official(tmp_path, stand_ins, arrays):
    """Writes the four files, with changes, and returns their paths."""

    def write(changes=None, **options):
        chumpy, sparse = stand_ins
        basis = chumpy()
        basis.__dict__.update(x=arrays["shapedirs"], _dirty_vars=set(), _status="new")
        columns = scipy.sparse.csc_matrix(arrays["J_regressor"])
        regressor = sparse()
        state = {"data": columns.data, "indices": columns.indices, "indptr": columns.indptr}
        regressor.__dict__.update(state, _shape=(5, V), maxprint=50, format="csc")
        model = {**arrays, "shapedirs": basis, "J_regressor": regressor, **(changes or {})}
        paths = [tmp_path / name for name in ("generic_model.pkl", "FLAME_masks.pkl", "l.npy", "r.npy")]
        dumps(model, paths[0], **options)
        dumps({"face": np.array([5, 1, 2]), "neck": np.array([0])}, paths[1], **options)
        np.save(paths[2], np.full((V, 3), 0.25))
        np.save(paths[3], np.full((V, 3), 0.5))
        return paths

    return write


@pytest.mark.parametrize(
    "options",
    [
        {"protocol": 2},
        {"protocol": 0},
        {"protocol": 2, "pickler": pickle._Pickler},
        {"protocol": 4, "pickler": pickle._Pickler},
    ],
    ids=["python 2", "python 2, protocol 0", "python 3, protocol 2", "python 3, protocol 4"],
)
def test_official_files_are_read(official, arrays, options):
    data = read_official(*official(**options))
    expected = {
        "template": arrays["v_template"],
        "shape_basis": arrays["shapedirs"][..., :300],
        "expression_basis": arrays["shapedirs"][..., 300:350],
        "pose_basis": arrays["posedirs"],
        "eyelid_basis": np.stack([np.full((V, 3), 0.25), np.full((V, 3), 0.5)]),
        "joint_regressor": arrays["J_regressor"],
        "skinning": arrays["weights"],
        "parents": [-1, 0, 1, 1, 1],
        "faces": arrays["f"],
        "face_vertices": [1, 2, 5],
    }
    for field in fields(data):
        value = getattr(data, field.name)
        assert value.dtype in (torch.float32, torch.int32)
        np.testing.assert_allclose(value.numpy(), expected[field.name], rtol=1e-6, err_msg=field.name)


def test_converted_file_gives_the_same_head(tmp_path, official):
    data = read_official(*official())
    save_flame(data, tmp_path / "flame.safetensors")
    again = load_flame(tmp_path / "flame.safetensors")
    for field in fields(data):
        assert torch.equal(getattr(data, field.name), getattr(again, field.name))
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]
    assert FlameLayer(again, kept=again.face_vertices).template.shape == (3, 3)


class Malicious:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path, official):
    mark = tmp_path / "was_run"
    paths = official({"J": Malicious(mark)})
    with pytest.raises(InputError, match=r"generic_model\.pkl: refused.*(posix|nt)\.system.*download"):
        read_official(*paths)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["eval", "getattr", "exec", "__import__"])
def test_other_builtins_are_refused(official, name):
    paths = official()
    paths[1].write_bytes(b"c__builtin__\n" + name.encode() + b"\n(S'1'\ntR.")
    with pytest.raises(InputError, match=rf"FLAME_masks\.pkl: refused.*__builtin__\.{name}"):
        read_official(*paths)


def test_encoding_other_than_latin1_is_refused(official):
    paths = official()
    paths[1].write_bytes(b"c_codecs\nencode\n(Vx\nVrot13\ntR.")
    with pytest.raises(InputError, match="rot13"):
        read_official(*paths)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"v_template": np.zeros((V, 2))}, "v_template.*any x 3"),
        ({"posedirs": np.zeros((V, 3, 9))}, f"posedirs.*{V} x 3 x 36"),
        ({"weights": np.zeros((V + 1, 5))}, f"weights.*{V} x 5"),
        ({"shapedirs": np.zeros((V, 3, 150))}, f"shapedirs.*{V} x 3 x 400"),
        ({"f": np.full((2, 3), V)}, "faces points beyond"),
        ({"v_template": np.full((V, 3), np.nan)}, "template is not finite"),
        ({"kintree_table": np.zeros((2, 5), dtype=np.uint32)}, "parents"),
        ({"weights": "lbs"}, "weights"),
    ],
)
def test_unexpected_arrays_are_refused(official, changes, message):
    with pytest.raises(InputError, match=message):
        read_official(*official(changes))


def test_missing_entry_is_named(official, tmp_path):
    paths = official()
    dumps({"neck": np.arange(3)}, paths[1])
    with pytest.raises(InputError, match="has no entry 'face'"):
        read_official(*paths)


def test_broken_sparse_matrix_is_refused(official, stand_ins):
    regressor = stand_ins[1]()
    regressor.__dict__.update(
        data=np.ones(1), indices=np.array([99]), indptr=np.array([0, 1] + [1] * (V - 1)), _shape=(5, V)
    )
    with pytest.raises(InputError, match="'J_regressor' is broken"):
        read_official(*official({"J_regressor": regressor}))


@pytest.mark.parametrize("content", [None, b"", b"garbage", b"\x80\x02]q\x00."])
def test_what_is_no_pickle_of_a_dictionary_is_refused(official, content):
    paths = official()
    paths[0].unlink()
    if content is not None:
        paths[0].write_bytes(content)
    with pytest.raises(InputError, match=r"generic_model\.pkl"):
        read_official(*paths)


def test_truncated_pickle_is_refused(official):
    paths = official()
    paths[0].write_bytes(paths[0].read_bytes()[:-1000])
    with pytest.raises(InputError, match=r"generic_model\.pkl"):
        read_official(*paths)


def test_pickled_eyelids_are_refused(official):
    paths = official()
    np.save(paths[2], np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"l\.npy"):
        read_official(*paths)


def test_other_safetensors_are_refused(tmp_path):
    from safetensors.torch import save_file

    save_file({"template": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(InputError, match=r"not a converted FLAME head.*skinning"):
        load_flame(tmp_path / "other.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"no")
    for name in ("broken.safetensors", "absent.safetensors"):
        with pytest.raises(InputError, match=name):
            load_flame(tmp_path / name)
