"""Everything that steers the frozen transformer, with the calls of the UNet's `diffpc.diffusion.adapter.Adapter`."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass

from diffusers import ModelMixin, SD3Transformer2DModel
from jaxtyping import Float
from torch import Tensor

from diffpc.diffusion.adapter import Condition
from diffpc.diffusion.backbone import TextCondition
from diffpc.diffusion.flow import injector
from diffpc.diffusion.flow.control import FlowIDCtrl
from diffpc.diffusion.flow.injector import FlowIDInjectors
from diffpc.diffusion.injector import Strength
from diffpc.errors import UsageError
from diffpc.identity.forms import FORMS
from diffpc.settings import AdapterSettings


@dataclass(frozen=True)
class FlowStep:
    """The transformer's own inputs at one step."""

    z_t: Float[Tensor, "B C H W"]
    """Noisy latents."""
    timesteps: Float[Tensor, " B"]
    """The flow's t times the number of training timesteps."""
    text: TextCondition
    """The prompt, as SD3 has it: tokens of its text encoders, and a pooled vector."""

    def predict(self, transformer: SD3Transformer2DModel) -> Float[Tensor, "B C H W"]:
        """The transformer's velocity, in its own type."""
        tokens, pooled = self.text.tokens, self.text.pooled
        return transformer(self.z_t, tokens, pooled, self.timesteps, return_dict=False)[0]


@dataclass(frozen=True)
class FlowAdapter:
    """The trained networks behind the identity tokens."""

    control: FlowIDCtrl
    injectors: FlowIDInjectors

    def condition(
        self,
        identity: Float[Tensor, "B N D"],
        z_3d: Float[Tensor, "B C H W"],
        z_skin: Float[Tensor, "B C H W"] | None = None,
    ) -> Condition:
        """What can be computed once per image, from F'_id and the latents of I_3d and I_skin."""
        return Condition(identity, self.control.embed_condition(z_3d, z_skin))

    @contextmanager
    def attached(
        self,
        transformer: SD3Transformer2DModel,
        step: FlowStep,
        condition: Condition,
        strength: Strength = 1.0,
    ) -> Generator[None]:
        """Within the context the transformer, called with this step, obeys; afterwards it is as before.

        Args:
            transformer: the frozen base that the networks were made for.
            step: what it is called with.
            condition: from `condition`.
            strength: 0 gives the base model's output.
        """
        text = step.text.tokens if self.control.config["beside_text"] else None
        told = (condition.identity, condition.embedded, step.text.pooled, text)
        c_id = self.control(step.z_t, step.timesteps, *told)
        with injector.attached(transformer, self.injectors, c_id, strength):
            yield


def build_flow_adapter(
    settings: AdapterSettings,
    transformer: SD3Transformer2DModel,
    layers: int | None = None,
    beside_text: bool = False,
) -> dict[str, ModelMixin]:
    """The untrained adapter for a transformer, by the names of the pipeline's components.

    Args:
        settings: sizes and forms, as for a UNet.
        transformer: the base; within `torch.device("meta")` all have sizes only.
        layers: blocks that ID-Ctrl copies; None copies half.
        beside_text: whether ID-Ctrl reads the text beside the identity tokens.

    Raises:
        UsageError: for a form that exists for the UNet alone, or more layers than there are.
    """
    for name, wanted in (("control", "id_ctrl"), ("sites", "per_concatenation")):
        if (found := getattr(settings, name)) != wanted:
            raise UsageError(f"{name} is {found!r}, which only a UNet has; set {wanted!r} for a transformer")
    control = FlowIDCtrl.from_transformer(transformer, layers, settings.skin, beside_text)
    copied = len(control.transformer_blocks)
    return {
        "id_encoder": FORMS[settings.identity].from_settings(settings, transformer.inner_dim),
        "id_ctrl": control,
        "id_injectors": FlowIDInjectors.from_transformer(
            transformer, copied, settings.injector, settings.kernel
        ),
    }
