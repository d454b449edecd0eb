"""Everything that shapes a training run."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from diffpc.settings import ModelSettings

Stage = Literal["vae", "decoder", "base", "align", "adapter", "joint", "critic", "obey"]
"""What is trained: the autoencoder; its decoder alone; text encoders and UNet on it; the ID-Encoder's start; the
adapter on the frozen base; the adapter and the base together; a critic that sees whether portraits obey; adapter and
base by what they draw. A published base has the first three behind it."""


@dataclass(frozen=True)
class LoopSettings:
    """How long and how fast to train."""

    images: int
    """Training images to see in all."""
    batch: int = 32
    """Images per optimiser step, over all processes and micro-batches."""
    learning_rate: float = 1e-5
    """The paper's rate is constant at 1e-5; small models from scratch take more."""
    schedule: Literal["constant", "cosine"] = "constant"
    """What follows the warm-up."""
    warmup_images: int = 0
    """Images over which the rate rises linearly from 0."""
    weight_decay: float = 1e-2
    """AdamW's decoupled decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's momenta."""
    clip_norm: float = 1.0
    """Largest norm of the whole gradient."""
    ema_images: float = 10_000.0
    """Half-life of the weights' moving average, in images; it is shorter at the start. 0 keeps none."""
    seed: int = 0
    """Of every random choice."""
    checkpoint_images: int = 5_000
    """Images between checkpoints."""
    keep: int = 2
    """Checkpoints kept."""


@dataclass(frozen=True)
class EngineSettings:
    """How the work is done; none of it changes what is learnt, but for rounding."""

    precision: Literal["float32", "bfloat16"] = "float32"
    """Of products; trained weights and their averages stay float32."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """With several processes: whole copies, or weights, gradients and optimiser in shards (FSDP2)."""
    accumulation: int = 1
    """Micro-batches per process and step."""
    checkpointing: bool = False
    """Compute activations twice instead of keeping them."""
    compile: bool = False
    """torch.compile for the networks."""
    workers: int = 0
    """Processes that prepare samples, per training process; 0 prepares them in the training process."""
    tracker: str = "auto"
    """Who draws curves: a tracker that Accelerate knows, auto for TensorBoard where it is installed, or none;
    log.jsonl is always written."""


@dataclass(frozen=True)
class IdentityLoss:
    """How L_id of Eq. 20 and 21 is weighed and where it applies."""

    weight: float = 0.1
    """lambda of Eq. 21; 0 leaves it out."""
    until: int = 400
    """Largest timestep at which z0_hat is a face (method.md, point 15)."""
    window: int | None = None
    """Side, in latents, of the square around the target's face that is decoded; None decodes the picture."""


@dataclass(frozen=True)
class ExamineSettings:
    """The training picture and what is wanted of it."""

    size: int
    """Side of the training pictures in pixels."""
    spread: float = 0.5
    """Share of each range of the model's framing, about its middle, over which faces are spread; 0: all alike."""
    upsampling: float = 2.0
    """Photos that would have to be enlarged more than this are refused."""
    patches: bool = False
    """Whether to compute F_local (0.7 MB a photo with ViT-H) beside the crop that it comes from."""
    mirrored: bool = False
    """Whether to take every photo twice, the second time mirrored."""


@dataclass(frozen=True)
class CacheSettings(ExamineSettings):
    """What the values depend on besides photos and model."""

    part: int = 256
    """Photos per file: what a kill can cost."""
    batch: int = 8
    """Photos that the VAE encodes at once; changes nothing but rounding."""
    pictures: bool = False
    """Whether to keep the training pictures themselves: an autoencoder learns from them."""
    skin: bool = False
    """Whether to keep the photos' skin (`face3d.skin`); a model that is told it has it kept in any case."""


@dataclass(frozen=True)
class PairSettings:
    """Which pairs, and what is left out of them (Sec. 4.5 and method.md, points 12 and 17)."""

    same_person_pairs: bool = True
    """Reference and target are two photos of one person; False: one and the same photo (Table 7)."""
    targets: Literal["photos", "persons"] = "photos"
    """What is drawn uniformly: photos, or persons and then one of the person's photos."""
    per_person: int | None = None
    """Photos used of each person, the first of them; None uses all."""
    text_drop: float = 0.05
    """Probability of the empty prompt."""
    global_drop: float = 0.05
    """Probability that F_global is to be zeroed."""
    local_drop: float = 0.05
    """Probability that F_local is to be zeroed."""
    identity_drop: float = 0.05
    """Probability that both are, so that guidance has a "nobody" to push away from; 0 in the paper."""
    skin_drop: float = 0.1
    """Probability that a model that is told the reference's skin is not."""
    own_skin: float = 0.0
    """Probability that the skin is the target photo's own, its colours changed a little. Between two photos light and
    expression differ more than persons do, so that the diffusion loss finds little use for skin; of one photo it is
    all there is to see."""
    adapter_drop: float = 0.0
    """Probability that the base draws alone; only a joint training can learn from it."""
    timesteps: int = 1000
    """Of the noise schedule."""
    density: Literal["uniform", "linear", "logit_normal"] = "uniform"
    """How often timesteps are drawn; linear: in proportion to the timestep, since whose face it is and how it
    stands is decided where there is much noise; logit_normal: most in the middle, as SD3 was trained."""


@dataclass(frozen=True)
class WishSettings:
    """What is wished for, where portraits are graded as they are drawn (`diffpc.train.obey`)."""

    own_face: float = 0.05
    """Probability that the reference photo is its own target."""
    text_drop: float = 0.1
    """Probability of the empty prompt."""
    adapter_drop: float = 0.1
    """Probability that the base draws alone."""
    silent: float = 0.1
    """How much it matters that a portrait has the reference's looks where the prompt says nothing of them."""
    open_mouth: float = 0.3
    """Probability that the target is one of the photos with open mouths, which are few."""
    mouth: float = 20.0
    """How much more it matters how far the mouth opens than each other coefficient of expression and pose."""


@dataclass(frozen=True)
class ObeySettings:
    """How drawn portraits are graded (`diffpc.train.obey`)."""

    steps: int = 8
    """Of the sampler whose portraits are graded."""
    guidance: float = 1.0
    """Of the teacher."""
    teacher: float = 0.2
    """Weight of the distance to it."""
    phrases: float = 0.7
    """Weight of what the prompt says."""
    margin: float = 1.0
    """Log odds that the critic is to be surer of what a prompt says than that it is more likely than not."""
    values: float = 0.2
    """Weight of expression and pose."""
    realism: float = 0.15
    """Weight of what the discriminator says."""

    @property
    def weights(self) -> dict[str, float]:
        """Term -> weight; the discriminator's own lesson is nobody else's."""
        names = ("teacher", "phrases", "values", "realism")
        return {**{name: getattr(self, name) for name in names}, "discriminator": 1.0}


@dataclass(frozen=True)
class ExportSettings:
    """What to take from a run, and in what form."""

    raw: bool = False
    """The weights as the last step left them, not their moving average."""
    checkpoint: int | None = None
    """Images seen when the checkpoint to take was written."""
    precision: Literal["float32", "float16", "bfloat16"] = "float16"
    """Of the numbers in the file. float32 is exact: the run's weights bit for bit. float16 is half as large and
    rounds them to 11 bits, bfloat16 to 8; in a whole model the base's too."""
    base: str | None = None
    """Where the base lies now, if not where the run found it."""
    start_from: str | None = None
    """Where the adapter that the run began with lies now, if not where the run found it."""
    force: bool = False
    """Replace an adapter or model that is there."""


@dataclass(frozen=True)
class Recipe:
    """How to train one stage of a model."""

    model: ModelSettings
    """Sizes and forms; those of the adapter are the choices that the paper ablates."""
    stage: Stage
    """Which."""
    loop: LoopSettings
    cache: CacheSettings
    engine: EngineSettings = field(default_factory=EngineSettings)
    identity: IdentityLoss = field(default_factory=IdentityLoss)
    pairs: PairSettings = field(default_factory=PairSettings)
    wishes: WishSettings = field(default_factory=WishSettings)
    obey: ObeySettings = field(default_factory=ObeySettings)
    face_weight: float = 1.0
    """How much more an error counts in L_diff where the target's face is; 1 in the paper."""
    window: int | None = None
    """Side, in latents, of the windows that an autoencoder learns from; None takes whole pictures."""
    realism: float = 0.0
    """How much an autoencoder's decoder learns from a discriminator, in gradients of its other terms; 0: nothing."""
    previews: int = 4
    """Portraits in each picture of progress."""
    preview_images: int = 10_000
    """Images between pictures of progress; 0 draws none."""
