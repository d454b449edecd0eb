"""The rows of the table for the other systems of evaluation, which users install in environments of their own.

Sizes and hashes: the hub's pages of h94/IP-Adapter-FaceID (commit 36ce7f9), guozinan/PuLID (d58b3ba) and
xinsir/controlnet-openpose-sdxl-1.0; public copies of InstantID's files that agree.
"""

from __future__ import annotations

from diffpc.external.asset import Archive, Asset, ByHand, File, Hub, Licence
from diffpc.external.faces import PACKS, SCRFD, pack

_APACHE = Licence("Apache-2.0", "yes")
_WITH_PACK = Licence("Apache-2.0", "no", "it runs on insightface's pack, for non-commercial research only")


def _faceid() -> Asset:
    digest = "c6945d82b543700cc3ccbb98d363b837e9c596281607857c74b713a876daf5fb"
    return Asset(
        "faceid_plus_v2",
        "baseline IP-Adapter-FaceID-PlusV2",
        (File("baselines/ip-adapter-faceid-plusv2_sdxl.bin", 1_487_555_181, digest),),
        Hub("h94/IP-Adapter-FaceID"),
        Licence("non-commercial, as its page says", "no", "its page says so"),
        "setting weights of the baseline faceid_plus_v2",
    )


def _controlnet() -> Asset:
    folder, name = "baselines/controlnet_openpose", "diffusion_pytorch_model.safetensors"
    digest = "b8524e557a7df60d081f5d4a0eb109967d107df217943bf88c2d99b9ebcc06c5"
    return Asset(
        "controlnet_openpose",
        "pose of the baseline faceid_plus_v2",
        (File(f"{folder}/config.json"), File(f"{folder}/{name}", 2_502_139_104, digest)),
        Hub("xinsir/controlnet-openpose-sdxl-1.0"),
        _APACHE,
        "setting controlnet of the baseline faceid_plus_v2",
    )


def _annotators() -> Asset:
    return Asset(
        "openpose_annotators",
        "pose detector of the baseline faceid_plus_v2",
        tuple(
            File(f"baselines/annotators/{name}")
            for name in ("body_pose_model.pth", "hand_pose_model.pth", "facenet.pth")
        ),
        Hub("lllyasviel/Annotators"),
        Licence("not confirmed", "unclear", "OpenPose's own weights are for non-commercial use"),
        "setting openpose of the baseline faceid_plus_v2",
    )


def _buffalo() -> Asset:
    archive = Archive(
        f"{PACKS}/buffalo_l.zip",
        288_621_354,
        "80ffe37d8a5940d59a7384c201a2a38d4741f2f3c51eef46ebb28218a7b0ca2f",
    )
    recognition = (174_383_860, "4c06341c33c2ca1f86781dab0e829f88ad5b64be9fba56e56bc9ebdefc619e43")
    files = {"det_10g.onnx": SCRFD, "w600k_r50.onnx": recognition}
    read_by = "setting insightface of the baselines: $DIFFPC_ASSETS"
    return pack(
        "buffalo_l", archive, files, "faces of the baselines faceid_plus_v2 and photomaker_v2", read_by
    )


def _photomaker() -> Asset:
    return Asset(
        "photomaker_v2",
        "baseline PhotoMaker-V2",
        (File("baselines/photomaker-v2.bin"),),
        Hub("TencentARC/PhotoMaker-V2"),
        _WITH_PACK,
        "setting weights of the baseline photomaker_v2",
    )


def _pulid() -> Asset:
    digest = "4cb8ceec1078e0165399b88332ab3c5971619111b8e1730e6bae64144aabae41"
    return Asset(
        "pulid_v1_1",
        "baseline PuLID v1.1",
        (File("baselines/pulid_v1.1.safetensors", 984_405_232, digest),),
        Hub("guozinan/PuLID"),
        _WITH_PACK,
        "the folder models/ of PuLID's clone, the setting source of the baseline pulid",
    )


def _flashface() -> Asset:
    return Asset(
        "flashface",
        "baseline FlashFace (SD 1.5)",
        tuple(File(f"baselines/flashface/{name}") for name in ("flashface.ckpt", "sd-v1-vae.pth")),
        ByHand(
            "https://huggingface.co/shilongz/FlashFace-SD1.5",
            "download every file there into cache/ of a clone of ali-vilab/FlashFace; to have them verified, put "
            "flashface.ckpt and sd-v1-vae.pth into baselines/flashface/ in the folder of models",
        ),
        Licence("MIT", "unclear", "it holds parts of Stable Diffusion 1.5, which have their own licence"),
        "cache/ of the setting source of the baseline flashface",
    )


def _instantid() -> Asset:
    folder, path = "baselines/instantid", "ControlNetModel"
    adapter = "02b3618e36d803784166660520098089a81388e61a93ef8002aa79a5b1c546e1"
    network = "c8127be9f174101ebdafee9964d856b49b634435cf6daa396d3f593cf0bbbb05"
    weights = f"{path}/diffusion_pytorch_model.safetensors"
    files = (
        File(f"{folder}/ip-adapter.bin", 1_691_134_141, adapter),
        File(f"{folder}/{path}/config.json", None, None, f"{path}/config.json"),
        File(f"{folder}/{weights}", 2_502_139_136, network, weights),
    )
    read_by = "setting weights of the baseline instantid: $DIFFPC_ASSETS/baselines/instantid"
    return Asset("instantid", "baseline InstantID", files, Hub("InstantX/InstantID"), _WITH_PACK, read_by)


BASELINES: tuple[Asset, ...] = (
    _faceid(),
    _controlnet(),
    _annotators(),
    _buffalo(),
    _photomaker(),
    _pulid(),
    _flashface(),
    _instantid(),
)
