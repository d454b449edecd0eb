"""Everything that steers the frozen UNet, run in one way by the denoising loop and by training."""

from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from diffusers import ModelMixin, UNet2DConditionModel
from jaxtyping import Float
from torch import Tensor

from diffpc.diffusion import decoupled, injector
from diffpc.diffusion.attention import KeysValues
from diffpc.diffusion.control import IDCtrl
from diffpc.diffusion.decoupled import IDAttention
from diffpc.diffusion.injector import IDInjectors, Strength
from diffpc.identity.forms import FORMS
from diffpc.settings import AdapterSettings


@dataclass(frozen=True)
class Step:
    """The UNet's own inputs at one step."""

    z_t: Float[Tensor, "B C H W"]
    """Noisy latents."""
    timesteps: Tensor
    """(B,) or scalar."""
    text: Float[Tensor, "B T D"]
    """The prompt's tokens."""
    added: dict[str, Tensor]
    """`text_embeds` (B, P) and `time_ids` (B, 6)."""


@dataclass(frozen=True)
class Condition:
    """What the adapter is told, constant over the steps."""

    identity: Float[Tensor, "B N D"]
    """F'_id."""
    embedded: Float[Tensor, "B W0 H W"]
    """z_3d, with or without z_skin, as ID-Ctrl adds it to its first feature map."""
    keys_values: tuple[KeysValues, ...] = ()
    """F'_id as the UNet's cross-attentions read it, where they do."""


@dataclass(frozen=True)
class Adapter:
    """The trained networks behind the identity tokens.

    Without `attention` this is the paper's method: the tokens stand in ID-Ctrl's cross-attention. With it they go
    beside the text into the UNet's own, and ID-Ctrl reads the text: a ControlNet for the 3D face.
    """

    control: IDCtrl
    injectors: IDInjectors
    attention: IDAttention | None = None

    def condition(
        self,
        identity: Float[Tensor, "B N D"],
        z_3d: Float[Tensor, "B C H W"],
        z_skin: Float[Tensor, "B C H W"] | None = None,
    ) -> Condition:
        """What can be computed once per image, from F'_id and the latents of I_3d and I_skin."""
        keys_values = () if self.attention is None else self.attention(identity)
        return Condition(identity, self.control.embed_condition(z_3d, z_skin), keys_values)

    @contextmanager
    def attached(
        self, unet: UNet2DConditionModel, step: Step, condition: Condition, strength: Strength = 1.0
    ) -> Generator[None]:
        """Within the context the UNet, called with this step, obeys the condition; afterwards it is as before.

        Args:
            unet: the frozen UNet that the networks were made for.
            step: what it is called with.
            condition: from `condition`.
            strength: 0 gives the base model's output.
        """
        with self._steered(unet, condition, strength) as c_id:
            c_id[:] = self._features(step, condition)
            yield

    @contextmanager
    def steering(
        self, unet: UNet2DConditionModel, condition: Condition, strength: Strength = 1.0
    ) -> Generator[Callable[[Step], Tensor]]:
        """As `attached`, for many steps: gives the UNet's prediction at a step.

        What hangs on the UNet stays there from step to step, so that a step can be compiled as a whole.
        """
        with self._steered(unet, condition, strength) as c_id:
            nothing = list(c_id)

            def predict(step: Step) -> Tensor:
                c_id[:] = self._features(step, condition)
                predicted = unet(
                    step.z_t, step.timesteps, encoder_hidden_states=step.text, added_cond_kwargs=step.added
                ).sample
                c_id[:] = nothing  # not kept until the next step: a compiled step would have to hand them out
                return predicted

            yield predict

    def _features(self, step: Step, condition: Condition) -> tuple[Tensor, ...]:
        """c_id."""
        told = condition.identity if self.attention is None else step.text
        return self.control(step.z_t, step.timesteps, told, condition.embedded, step.added)

    @contextmanager
    def _steered(
        self, unet: UNet2DConditionModel, condition: Condition, strength: Strength
    ) -> Generator[list[Tensor]]:
        """Within the context the UNet reads c_id in the list, which is to be filled before."""
        c_id = [condition.embedded] * injector.features(unet)
        with ExitStack() as undo:
            undo.enter_context(injector.attached(unet, self.injectors, c_id, strength))
            if self.attention is not None:
                keys_values = condition.keys_values
                undo.enter_context(decoupled.attached(unet, self.attention, keys_values, strength))
            yield c_id


def build_adapter(settings: AdapterSettings, unet: UNet2DConditionModel) -> dict[str, ModelMixin]:
    """The untrained adapter for a UNet, by the names of the pipeline's components.

    Args:
        settings: sizes and forms.
        unet: ID-Ctrl starts as a copy of its encoder; within `torch.device("meta")` all have sizes only.
    """
    width = int(unet.config["cross_attention_dim"])
    parts: dict[str, ModelMixin] = {
        "id_encoder": FORMS[settings.identity].from_settings(settings, width),
        "id_ctrl": IDCtrl.from_unet(unet, settings.skin),
        "id_injectors": IDInjectors.from_unet(unet, settings.injector, settings.kernel, settings.sites),
    }
    if settings.control == "ip_adapter":
        parts["id_attention"] = IDAttention.from_unet(unet)
    return parts
