"""The two sizes as functions: one layout, one code, only numbers differ."""

from dataclasses import replace

from diffpc.settings import (
    AdapterSettings,
    BackboneSettings,
    FaceSettings,
    Framing,
    ModelSettings,
    TextEncoderSettings,
    UNetSettings,
    VAESettings,
)


def sdxl() -> ModelSettings:
    """Stable Diffusion XL base 1.0 with the paper's adapter (arXiv 2602.00639)."""
    return ModelSettings(
        backbone=BackboneSettings(
            vae=VAESettings(
                latent_channels=4,
                block_out_channels=(128, 256, 512, 512),
                layers_per_block=2,
                norm_num_groups=32,
                scaling_factor=0.13025,
                mid_block_add_attention=True,
            ),
            text_encoder=TextEncoderSettings(
                hidden_size=768,
                layers=12,
                heads=12,
                projection=768,
                vocabulary=49408,
                length=77,
                activation="quick_gelu",
            ),
            text_encoder_2=TextEncoderSettings(
                hidden_size=1280,
                layers=32,
                heads=20,
                projection=1280,
                vocabulary=49408,
                length=77,
                activation="gelu",
            ),
            unet=UNetSettings(
                block_out_channels=(320, 640, 1280),
                layers_per_block=2,
                transformer_layers_per_block=(1, 2, 10),
                attention_head_dim=(5, 10, 20),
                addition_time_embed_dim=256,
                norm_num_groups=32,
            ),
            size=1024,
            prediction_type="epsilon",
            beta_schedule="scaled_linear",
            rescale_betas_zero_snr=False,
        ),
        adapter=AdapterSettings(
            global_width=512, local_width=1280, tokens=32, layers=4, heads=16, injector="residual", kernel=3
        ),
        faces=FaceSettings(
            detector="insightface",
            embedder="arcface",
            local_features="clip_vit_h",
            predictor="smirk",
            face_model="flame",
        ),
    )


def tiny() -> ModelSettings:
    """The bundled model: the same parts at 128 x 128 pixels, made to run on two CPU cores."""
    return ModelSettings(
        backbone=BackboneSettings(
            vae=VAESettings(
                latent_channels=16,
                block_out_channels=(24, 48, 96, 128),
                layers_per_block=1,
                norm_num_groups=8,
                scaling_factor=1.0763,
                mid_block_add_attention=False,
            ),
            text_encoder=TextEncoderSettings(
                hidden_size=96,
                layers=3,
                heads=3,
                projection=96,
                vocabulary=1024,
                length=32,
                activation="quick_gelu",
            ),
            text_encoder_2=TextEncoderSettings(
                hidden_size=160,
                layers=3,
                heads=5,
                projection=160,
                vocabulary=1024,
                length=32,
                activation="gelu",
            ),
            unet=UNetSettings(
                block_out_channels=(64, 128, 192),
                layers_per_block=1,
                transformer_layers_per_block=(1, 1, 1),
                attention_head_dim=(2, 4, 6),
                addition_time_embed_dim=32,
                norm_num_groups=16,
            ),
            size=128,
            prediction_type="v_prediction",
            beta_schedule="squaredcos_cap_v2",
            rescale_betas_zero_snr=True,
        ),
        adapter=AdapterSettings(
            global_width=128,
            local_width=133,
            tokens=32,
            layers=2,
            heads=4,
            injector="residual",
            kernel=3,
            skin=True,
        ),
        faces=FaceSettings(
            detector="dlib",
            embedder="dlib",
            local_features="dlib",
            predictor="light",
            face_model="light",
            framing=Framing(height=(0.63, 0.75), x=(0.42, 0.58), y=(0.5, 0.62)),
            reference_scale=1.7,
            matter="none",
        ),
    )


PRESETS = {"sdxl": sdxl, "tiny": tiny}


def ablations(adapter: AdapterSettings) -> dict[str, AdapterSettings]:
    """The networks of the paper's Tables 4 and 5, by row, around the paper's full method, and this with skin.

    Table 4 changes the identity tokens: local, global, concat. Table 5 changes what they steer: "ip_adapter" is
    IP-Adapter with a pose ControlNet, "id_ctrl" is ID-Ctrl without ID-Injectors. None of them is told the
    reference's skin, which the paper does not know; "skin" is the full method that is.
    """
    full = replace(adapter, skin=False)
    return {
        "local": replace(full, identity="local"),
        "global": replace(full, identity="global"),
        "concat": replace(full, identity="concat"),
        "ip_adapter": replace(full, control="ip_adapter", injector="additive"),
        "id_ctrl": replace(full, injector="additive"),
        "skin": replace(full, skin=True),
        "full": full,
    }
