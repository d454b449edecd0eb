"""The table says what the code reads, and nothing twice."""

from pathlib import Path, PurePosixPath

import pytest

from diffpc.errors import UsageError
from diffpc.evaluate import inception
from diffpc.external.asset import Archive, Hub
from diffpc.external.table import ASSETS, find
from diffpc.face3d.model import FLAME_FILE
from diffpc.face3d.smirk_predictor import SMIRK_FILE
from diffpc.faces import arcface_embedder, insightface_detector

ALL = [(asset, file) for asset in ASSETS.values() for file in asset.files]


def test_every_place_is_below_the_root_and_belongs_to_one_file():
    places = [PurePosixPath(file.place) for _, file in ALL]
    assert len(set(places)) == len(places)
    assert all(not place.is_absolute() and ".." not in place.parts for place in places)


def test_hashes_are_hashes_and_sizes_positive():
    for _, file in ALL:
        assert file.sha256 is None or (
            len(file.sha256) == 64 and int(file.sha256, 16) and file.sha256.islower()
        )
        assert file.size is None or file.size > 0
        assert file.limit >= (file.size or 0)


def test_every_asset_says_all_that_is_wanted():
    for name, asset in ASSETS.items():
        assert asset.name == name and asset.files and asset.purpose and asset.read_by and asset.licence.name
        assert asset.licence.commercial == "yes" or asset.licence.why
        if isinstance(asset.source, Hub):
            assert asset.source.repository.count("/") == 1
        if isinstance(asset.source, Archive):
            assert len(asset.source.sha256) == 64
            assert all(file.size and file.sha256 for file in asset.files)


def test_it_names_the_files_that_the_code_looks_for():
    assert ASSETS["smirk"].files[0].place == SMIRK_FILE
    assert ASSETS["flame"].files[0].place == FLAME_FILE
    pack = [file.name for file in ASSETS["antelopev2"].files]
    assert pack[:2] == [insightface_detector.DETECTOR_FILE, arcface_embedder.WEIGHT_FILE]
    assert ASSETS["inception"].files[0].sha256.startswith(inception.PREFIX)
    assert {file.place for file in ASSETS["clip_vit_h"].files} == {
        "image_encoder/config.json",
        "image_encoder/model.safetensors",
    }


def test_sdxl_is_a_whole_folder_of_diffusers():
    from diffpc.loading import BASE

    folders = {PurePosixPath(file.place).parts[1] for file in ASSETS["sdxl"].files}
    assert folders == {*BASE, "scheduler", "model_index.json"}
    assert not any(".fp16." in file.place for file in ASSETS["sdxl"].files)
    weights = {file.place: file.size for file in ASSETS["sdxl"].files if file.place.endswith(".safetensors")}
    assert weights == {
        "sdxl/text_encoder/model.safetensors": 246_144_152,
        "sdxl/text_encoder_2/model.safetensors": 1_389_382_176,
        "sdxl/unet/diffusion_pytorch_model.safetensors": 5_135_149_760,
        "sdxl/vae/diffusion_pytorch_model.safetensors": 167_335_342,
    }


def test_options_that_it_names_exist():
    from diffpc.cli.serve import OPTIONS
    from diffpc.curate.settings import PhotoSettings
    from diffpc.evaluate import clip

    assert "nsfw_checker" in OPTIONS and "--nsfw-checker" in ASSETS["safety_checker"].read_by
    assert hasattr(PhotoSettings(), "quality_weights") and "quality-weights" in ASSETS["fqa"].read_by
    assert "--clip" in clip.NEEDS and "--clip" in ASSETS["clip_vit_b32"].read_by
    assert "--inception" in inception.NEEDS and "--inception" in ASSETS["inception"].read_by


def test_every_baseline_has_an_asset():
    programs = Path(inception.__file__).parent / "baselines" / "programs"
    names = {path.stem for path in programs.glob("*.txt")}
    assert {next((asset for asset in ASSETS if asset.startswith(name)), name) for name in names} <= set(
        ASSETS
    )


def test_unknown_names_list_the_known_ones():
    assert find(["smirk", "flame", "smirk"]) == (ASSETS["smirk"], ASSETS["flame"])
    assert find([]) == tuple(ASSETS.values())
    with pytest.raises(UsageError, match="unknown asset 'smrk'; choose from: sdxl, "):
        find(["smrk"])
