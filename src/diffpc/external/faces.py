"""The rows of the table for what sees faces at SDXL's size, and for the judges of evaluation, curation and serving.

Sizes and hashes of insightface's packs, Inception and ViT-H: public manifests of several projects that agree.
"""

from __future__ import annotations

from collections.abc import Mapping

from diffpc.external.asset import Archive, Asset, ByHand, File, Hub, Licence, Web

PACKS = "https://github.com/deepinsight/insightface/releases/download/model-zoo"

RESEARCH = Licence("insightface's model licence", "no", "non-commercial research only")

SCRFD = (16_923_827, "5838f7fe053675b1c7a08b633df49e7af5495cee0493c7dcf6697200b85b5b91")
"""Both packs' detector, under two names."""

SHARED = {
    "1k3d68.onnx": (143_607_619, "df5c06b8a0c12e422b2ed8947b8869faa4105387f199c477af038aa01f9a45cc"),
    "2d106det.onnx": (5_030_888, "f001b856447c413801ef5c42091ed0cd516fcd21f2d6b79635b1e733a7109dbf"),
    "genderage.onnx": (1_322_532, "4fde69b1c810857b88c64a335084f1c3fe8f01246c9a191b48c7bb756d6652fb"),
}
"""In both packs."""

ANTELOPE = {
    "scrfd_10g_bnkps.onnx": SCRFD,
    "glintr100.onnx": (
        260_665_334,
        "4ab1d6435d639628a6f3e5008dd4f929edf4c4124b1a7169e1048f9fef534cdf",
    ),
}


def _vit_h() -> Asset:
    digest = "6ca9667da1ca9e0b0f75e46bb030f7e011f44f86cbfb8d5a36590fcd7507b030"
    path = "models/image_encoder"
    files = (
        File("image_encoder/config.json", None, None, f"{path}/config.json"),
        File("image_encoder/model.safetensors", 2_528_373_448, digest, f"{path}/model.safetensors"),
    )
    return Asset(
        "clip_vit_h",
        "local face features, CLIP ViT-H/14",
        files,
        Hub("h94/IP-Adapter"),
        Licence("Apache-2.0, as its copies on the hub say", "yes"),
        "local_features clip_vit_h, in image_encoder/",
    )


def pack(
    name: str, archive: Archive, files: Mapping[str, tuple[int, str]], purpose: str, read_by: str
) -> Asset:
    """A pack of insightface, where insightface itself would look for it below a root."""
    members = tuple(File(f"models/{name}/{file}", *known) for file, known in {**files, **SHARED}.items())
    return Asset(name, purpose, members, archive, RESEARCH, read_by)


def _antelope() -> Asset:
    archive = Archive(
        f"{PACKS}/antelopev2.zip",
        360_662_982,
        "8e182f14fc6e80b3bfa375b33eb6cff7ee05d8ef7633e738d1c89021dcf0c5c5",
    )
    purpose = "face detector (SCRFD) and embedder (ArcFace)"
    return pack("antelopev2", archive, ANTELOPE, purpose, "detector insightface, embedder arcface")


def _smirk() -> Asset:
    steps = (
        "open https://drive.google.com/file/d/1T65uEd9dVLHgVw5KiUYL66NUee-MCzoE/view, the link of SMIRK's "
        "quick_install.sh, download SMIRK_em1.pt and put it into the folder of models"
    )
    return Asset(
        "smirk",
        "3D face predictor, SMIRK",
        (File("SMIRK_em1.pt"),),
        ByHand("https://github.com/georgeretsi/smirk", steps),
        Licence("none stated for the weights (code: MIT)", "unclear", "ask its authors"),
        "predictor smirk",
    )


def _flame() -> Asset:
    steps = (
        "register, accept the licence, download FLAME 2020 (generic_model.pkl) and FLAME_masks.pkl, take l_eyelid.npy "
        "and r_eyelid.npy from SMIRK's assets, and convert them: python -c \"from pathlib import Path; from "
        "diffpc.face3d.flame_file import *; save_flame(read_official(*map(Path, ['generic_model.pkl', "
        "'FLAME_masks.pkl', 'l_eyelid.npy', 'r_eyelid.npy'])), Path('flame.safetensors'))\", then put "
        "flame.safetensors into the folder of models"
    )
    return Asset(
        "flame",
        "3D face model, FLAME 2020 as converted",
        (File("flame.safetensors"),),
        ByHand("https://flame.is.tue.mpg.de", steps, registration=True),
        Licence("FLAME's licence, accepted on registering", "unclear", "the page you register on decides"),
        "face_model flame",
    )


def _fqa() -> Asset:
    repository = "iic/cv_manual_face-quality-assessment_fqa"
    return Asset(
        "fqa",
        "the paper's judge of face quality, for curation",
        (File("fqa/model.onnx"),),
        ByHand(
            f"https://modelscope.cn/models/{repository}",
            "download model.onnx and put it into fqa/ in the folder of models",
        ),
        Licence("not confirmed", "unclear", "a copy on the hub claims Apache-2.0"),
        "curate --photos.quality-measure fqa --photos.quality-weights $DIFFPC_ASSETS/fqa/model.onnx",
    )


def _inception() -> Asset:
    name = "pt_inception-2015-12-05-6726825d.pth"
    digest = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
    return Asset(
        "inception",
        "Inception of FID, for evaluation",
        (File(name, 95_628_359, digest),),
        Web("https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights"),
        Licence("Apache-2.0 (its code)", "unclear", "none stated for the weights"),
        f"evaluate score --inception $DIFFPC_ASSETS/{name}",
    )


def _clip_b() -> Asset:
    names = ("config.json", "merges.txt", "vocab.json", "tokenizer_config.json", "special_tokens_map.json")
    files = tuple(File(f"clip_vit_b32/{name}") for name in (*names, "model.safetensors"))
    return Asset(
        "clip_vit_b32",
        "CLIP ViT-B/32, for evaluation's CLIP scores",
        files,
        # The main branch has no safetensors file; the hub's own conversion bot offers one in this pull request.
        Hub("openai/clip-vit-base-patch32", "refs/pr/32"),
        Licence("none stated on its page", "unclear", "its page names no licence for the weights"),
        "evaluate score --clip $DIFFPC_ASSETS/clip_vit_b32",
    )


def _safety_checker() -> Asset:
    names = ("config.json", "preprocessor_config.json", "model.safetensors")
    return Asset(
        "safety_checker",
        "diffusers' check of pictures, for serving",
        tuple(File(f"safety_checker/{name}") for name in names),
        # The first commit that has a safetensors file.
        Hub("CompVis/stable-diffusion-safety-checker", "1664e306d2258485321cbbd8083074c9474d4e41"),
        Licence("none stated on its page", "unclear", "its page names no licence"),
        "serve --nsfw-checker $DIFFPC_ASSETS/safety_checker",
    )


FACES: tuple[Asset, ...] = (
    _vit_h(),
    _antelope(),
    _smirk(),
    _flame(),
    _fqa(),
    _inception(),
    _clip_b(),
    _safety_checker(),
)
