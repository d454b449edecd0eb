"""The rows of the table for SDXL: the base, and what makes it draw in few steps.

Sizes and hashes: the hub's own pages of ByteDance/SDXL-Lightning (commit 1b39ebb) and ByteDance/Hyper-SD (2900d27); for
SDXL base two public manifests of revision 4621659 that agree, for the others public ones of several projects.
"""

from __future__ import annotations

from diffpc.external.asset import Asset, File, Hub, Licence

SDXL = "stabilityai/stable-diffusion-xl-base-1.0"
LIGHTNING = "ByteDance/SDXL-Lightning"
HYPER = "ByteDance/Hyper-SD"

RAIL = Licence("CreativeML Open RAIL++-M", "yes", "within the uses that its attachment allows")

_MERGES = (524_619, "9fd691f7c8039210e0fced15865466c65820d09b63988b0174bfe25de299051a")
_VOCABULARY = (1_059_962, "e089ad92ba36837a0d31433e555c8f45fe601ab5c221d4f607ded32d9f7a4349")

_SDXL_FILES: dict[str, tuple[int, str]] = {
    "model_index.json": (609, "6d7b93508390ab91ac5bfbe4aeb4dc2d83f7bb1b05fb069d714b5b0c75f70d44"),
    "scheduler/scheduler_config.json": (
        479,
        "af3e45a949aff8b8341ab8b811429ec03fee857a700a1d9477363e4fff9666e2",
    ),
    "text_encoder/config.json": (565, "39b8b2e4b1949e36969caa425b6c81c68bace99198dd9078ce05d16ad401fe7f"),
    "text_encoder/model.fp16.safetensors": (
        246_144_152,
        "660c6f5b1abae9dc498ac2d21e1347d2abdb0cf6c0c0c8576cd796491d9a6cdd",
    ),
    "text_encoder_2/config.json": (575, "a892d1c3a69a7e9247a24de2bc1d5891e3109a54696e53be20093af671072c34"),
    "text_encoder_2/model.fp16.safetensors": (
        1_389_382_176,
        "ec310df2af79c318e24d20511b601a591ca8cd4f1fce1d8dff822a356bcdb1f4",
    ),
    "tokenizer/merges.txt": _MERGES,
    "tokenizer/special_tokens_map.json": (
        472,
        "c4864a9376a8401918425bed71fc14fc0e81f9b59ec45c1cf96cccb2df508eac",
    ),
    "tokenizer/tokenizer_config.json": (
        737,
        "19d7b034cb0cc3ce9766c2231373ab8aa8991fc72e2c8f76558bfaae3de0d563",
    ),
    "tokenizer/vocab.json": _VOCABULARY,
    "tokenizer_2/merges.txt": _MERGES,
    "tokenizer_2/special_tokens_map.json": (
        460,
        "f118ab3a983206e4f32583448de6bd6aae4ee21869135cef1f5848a753cdaab6",
    ),
    "tokenizer_2/tokenizer_config.json": (
        725,
        "c9d23941f76a41cbd50eda9290f57be7828f0a7a677939e9ef181f7e12bd1bdf",
    ),
    "tokenizer_2/vocab.json": _VOCABULARY,
    "unet/config.json": (1680, "30ebc70750223e59006f7f2b4e1e6c102570aa19a9c4ae3e1fbe7591332dbae6"),
    "unet/diffusion_pytorch_model.fp16.safetensors": (
        5_135_149_760,
        "83e012a805b84c7ca28e5646747c90a243c65c8ba4f070e2d7ddc9d74661e139",
    ),
    "vae/config.json": (642, "0b331c8ac22ded5f9997a144a575c1d113d6169aff262c353f39015bd24a6264"),
    "vae/diffusion_pytorch_model.fp16.safetensors": (
        167_335_342,
        "bcb60880a46b63dea58e9bc591abe15f8350bde47b405f9c38f4be70c6161e68",
    ),
}
"""Path in the repository -> size, sha256. Half precision: half the download, and diffpc computes in 16 bits anyway."""

_LIGHTNING_UNETS = {
    2: (5_135_149_736, "15a96a3b213b8b4d6ea720b4fa5bf6723cd877170bd1a90f58e34da2968ef854"),
    4: (None, "39a90a8a2a25c1372633c1e8eb1a96f85eab937bcb58cfc6ec9baf66242ec23c"),
    8: (None, "471d8260fda0b17b8906feb24573ce64933d4b6b99ba7a1fa43ca051b994e869"),
}
_LIGHTNING_LORAS = {
    2: "04fafc778385b24144498a8247498ae4fb7a69f702ea0566bdce2845a31fcc43",
    4: "bf56cf2657efb15e465d81402ed481d1e11c4677e4bcce1bc11fe71ad8506b79",
    8: "5aa30d94cdf7950a8b53a693682650ee061eddb128c5435a8f88defea73b2ac6",
}
_HYPER_LORAS = {
    2: "69b25c0187ced301c3603c599c0bc509ac99b8ac34db89a2aecc3d5f77a35187",
    4: "12f81a27d00a751a40d68fd15597091896c5a90f3bd632fb6c475607cbdad76e",
    8: "ca689190e8c46038550384b5675488526cfe5a40d35f82b27acb75c100f417c1",
}


def _base() -> Asset:
    files = tuple(
        File(f"sdxl/{path.replace('.fp16.', '.')}", size, digest, path)
        for path, (size, digest) in _SDXL_FILES.items()
    )
    return Asset("sdxl", "the base model, SDXL 1.0", files, Hub(SDXL), RAIL, "--base $DIFFPC_ASSETS/sdxl")


def _vae() -> Asset:
    digest = "1b909373b28f2137098b0fd9dbc6f97f8410854f31f84ddc9fa04b077b0ace2c"
    folder = "sdxl_vae_fp16_fix"
    files = (
        File(f"{folder}/config.json"),
        File(f"{folder}/diffusion_pytorch_model.safetensors", None, digest),
    )
    return Asset(
        folder,
        "SDXL's VAE that does not overflow float16",
        files,
        Hub("madebyollin/sdxl-vae-fp16-fix"),
        Licence("MIT", "yes"),
        f"--vae $DIFFPC_ASSETS/{folder}",
    )


def _lightning_unet(steps: int) -> Asset:
    size, digest = _LIGHTNING_UNETS[steps]
    name = f"sdxl_lightning_{steps}step_unet"
    return Asset(
        name,
        f"the UNet distilled to {steps} steps",
        (File(f"{name}.safetensors", size, digest),),
        Hub(LIGHTNING),
        RAIL,
        f"--unet $DIFFPC_ASSETS/{name}.safetensors",
    )


def _lora(name: str, purpose: str, file: File, source: Hub, licence: Licence) -> Asset:
    return Asset(name, purpose, (file,), source, licence, f"--lora $DIFFPC_ASSETS/{file.place}")


def _lightning_lora(steps: int) -> Asset:
    name = f"sdxl_lightning_{steps}step_lora"
    file = File(f"loras/{name}.safetensors", 393_854_592, _LIGHTNING_LORAS[steps])
    return _lora(name, f"LoRA that lets SDXL draw in {steps} steps", file, Hub(LIGHTNING), RAIL)


def _hyper_lora(steps: int) -> Asset:
    source = f"Hyper-SDXL-{steps}steps-lora.safetensors"
    file = File(f"loras/{source}", 787_359_648, _HYPER_LORAS[steps])
    terms = Licence("not named on its page", "unclear", "its LICENSE.md also covers other bases")
    purpose = f"LoRA that lets SDXL draw in {steps} steps (Hyper-SD)"
    return _lora(f"hyper_sdxl_{steps}step_lora", purpose, file, Hub(HYPER), terms)


def _lcm_lora() -> Asset:
    digest = "a764e6859b6e04047cd761c08ff0cee96413a8e004c9f07707530cd776b19141"
    file = File("loras/lcm_lora_sdxl.safetensors", 393_855_224, digest, "pytorch_lora_weights.safetensors")
    source = Hub("latent-consistency/lcm-lora-sdxl")
    return _lora("lcm_lora_sdxl", "LoRA that lets SDXL draw in 4 to 8 steps", file, source, RAIL)


MODELS: tuple[Asset, ...] = (
    _base(),
    _vae(),
    *(_lightning_unet(steps) for steps in (2, 4, 8)),
    *(_lightning_lora(steps) for steps in (2, 4, 8)),
    _lcm_lora(),
    *(_hyper_lora(steps) for steps in (2, 4, 8)),
)
