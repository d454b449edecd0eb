"""Each way in which a file of the published layout can be wrong is named, with the command that mends it."""

import sys

import pytest
import torch
from safetensors.torch import save_file

from diffpc.doctor.backends import backend_checks
from diffpc.doctor.files import file_checks
from diffpc.doctor.run import Options, examined
from diffpc.external.table import ASSETS
from diffpc.face3d.encoder import SMIRK_PREFIX, FaceEncoder


@pytest.fixture(autouse=True)
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFPC_ASSETS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path


def file_check(name, **options):
    return examined("files", name, file_checks(Options(**options))[name])


def backend(name):
    return examined("back ends", name, backend_checks(Options())[name])


def smirk(path, **changes):
    state = {SMIRK_PREFIX + name: value for name, value in FaceEncoder().state_dict().items()}
    torch.save({**state, **changes}, path)


def test_a_right_checkpoint_of_unknown_hash_loads(root):
    smirk(root / "SMIRK_em1.pt")
    assert file_check("smirk").detail == "1 file: present, hash unknown"
    assert backend("predictor smirk").status == "ok"


def test_a_truncated_file_is_named(root):
    path = root / "SMIRK_em1.pt"
    smirk(path)
    path.write_bytes(path.read_bytes()[:-1000])
    found = file_check("smirk")
    assert (found.status, found.remedy) == ("warning", "diffpc assets fetch smirk")
    assert found.detail == f"{path} is cut short: a zip file without its end"
    found = backend("predictor smirk")
    assert found.status == "warning" and "cannot be read as a PyTorch checkpoint" in found.detail
    assert found.remedy == "diffpc assets fetch smirk --again"


def test_wrong_shapes_are_named(root):
    name = f"{SMIRK_PREFIX}shape_encoder.shape_layers.0.bias"
    smirk(root / "SMIRK_em1.pt", **{name: torch.zeros(7)})
    found = backend("predictor smirk")
    assert found.status == "warning" and "shape_layers.0.bias" in found.detail
    assert found.remedy == "diffpc assets fetch smirk --again"


def test_another_file_of_the_right_size_is_told_by_its_hash(root):
    file = ASSETS["inception"].files[0]
    with (root / file.place).open("wb") as stream:
        stream.write(b"x")
        stream.truncate(file.size)
    assert file_check("inception", hash=False).status == "ok"
    found = file_check("inception")
    assert found.status == "warning" and f"expected {file.sha256}" in found.detail
    assert found.remedy == "diffpc assets fetch inception"


def test_a_folder_with_a_file_missing_is_incomplete(root):
    (root / "image_encoder").mkdir()
    (root / "image_encoder" / "config.json").write_text("{}")
    found = file_check("clip_vit_h")
    assert found.status == "warning" and found.detail.endswith("model.safetensors is missing")


def test_another_vision_network_is_told_by_its_shapes(root):
    path = root / "image_encoder" / "model.safetensors"
    path.parent.mkdir()
    save_file({"vision_model.embeddings.class_embedding": torch.zeros(768)}, path)
    found = backend("layout of clip_vit_h")
    assert found.status == "warning" and found.remedy == "diffpc assets fetch clip_vit_h --again"
    assert "vision_model.embeddings.class_embedding is [768] instead of [1280]" in found.detail
    assert "missing: " in found.detail


def test_another_unet_is_told_by_its_shapes(root):
    path = root / "sdxl" / "unet" / "diffusion_pytorch_model.safetensors"
    path.parent.mkdir(parents=True)
    save_file({"conv_in.weight": torch.zeros(320, 9, 3, 3)}, path)
    assert "conv_in.weight is [320, 9, 3, 3] instead of [320, 4, 3, 3]" in backend("layout of sdxl").detail


def test_loras_and_autoencoders_are_looked_into(root):
    path = root / ASSETS["lcm_lora_sdxl"].files[0].place
    path.parent.mkdir()
    save_file({"unet.weight": torch.zeros(1)}, path)
    assert "holds no LoRA weights" in backend("layout of lcm_lora_sdxl").detail
    save_file({"unet.lora_up.weight": torch.zeros(1)}, path)
    assert backend("layout of lcm_lora_sdxl").status == "ok"
    path = root / ASSETS["sdxl_vae_fp16_fix"].files[1].place
    path.parent.mkdir()
    save_file({"encoder.conv_in.weight": torch.zeros(128, 4, 3, 3)}, path)
    assert "encoder.conv_in.weight is [128, 4, 3, 3]" in backend("layout of sdxl_vae_fp16_fix").detail


def test_a_broken_quality_network_is_told(root):
    pytest.importorskip("onnxruntime")
    path = root / "fqa" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(b"not onnx")
    found = backend("layout of fqa")
    assert found.status == "warning" and "is no ONNX network" in found.detail
    assert found.remedy == "diffpc assets fetch fqa --again"


def test_flame_of_another_kind_is_told(root):
    save_file({"template": torch.zeros(5, 3)}, root / "flame.safetensors")
    assert file_check("flame").status == "ok"  # whole, and no hash is known
    found = backend("face model flame")
    assert found.status == "warning" and "not a converted FLAME head" in found.detail


@pytest.fixture
def pack(root):
    pytest.importorskip("onnx")
    from diffpc.faces.iresnet import IResNetSettings
    from tests.faces.onnx_models import random_iresnet, save_iresnet, save_scrfd

    folder = root / "antelopev2" / "antelopev2"
    folder.mkdir(parents=True)
    save_scrfd(folder / "scrfd_10g_bnkps.onnx")
    settings = IResNetSettings(stem_width=4, widths=(4, 6, 8, 8), depths=(1, 1, 2, 1), dimension=16)
    save_iresnet(random_iresnet(settings), folder / "glintr100.onnx")
    return folder


def test_a_pack_of_another_size_is_told_but_may_load(pack):
    found = file_check("antelopev2")
    assert found.status == "warning" and "glintr100.onnx is cut short" in found.detail
    assert found.remedy == "diffpc assets fetch antelopev2"
    assert backend("embedder arcface").status == "ok"
    (pack / "glintr100.onnx").write_bytes(b"not onnx")
    assert "damaged" in backend("embedder arcface").detail


def test_without_its_package_a_back_end_names_the_extra(pack, monkeypatch):
    for name in ("onnx", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    for name in ("detector insightface", "embedder arcface"):
        found = backend(name)
        assert found.status == "warning" and "is not installed" in found.detail
        assert found.remedy == "pip install 'diffpc[insightface]'"
