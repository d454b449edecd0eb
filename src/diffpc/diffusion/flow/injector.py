"""ID-Injectors for a transformer: c_id modulates the residual stream at the image tokens (Eq. 15 to 17)."""

from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from diffusers import ConfigMixin, ModelMixin, SD3Transformer2DModel
from diffusers.configuration_utils import register_to_config
from jaxtyping import Float
from torch import Tensor, nn

from diffpc.diffusion.injector import Form, Strength, new_injector
from diffpc.errors import UsageError


class FlowIDInjectors(ModelMixin, ConfigMixin):
    """One injector behind each block of a transformer but the last; the sites are those of the UNet's injectors.

    The paper's z_d is the image tokens, seen as a map of `width` channels; there is no skip, so that z_e is absent
    as it is at the UNet's middle block. The text's tokens are left alone.
    """

    @register_to_config
    def __init__(
        self,
        width: int,
        features: Sequence[int],
        groups: int = 32,
        kernel: int = 1,
        form: Form = "residual",
    ) -> None:
        """Build all sites.

        Args:
            width: of the transformer.
            features: per block, the number of the c_id that it is told.
            groups: groups of the normalisations.
            kernel: side of the convolutions, in tokens.
            form: see `diffpc.diffusion.injector`.
        """
        super().__init__()
        self.features = list(features)
        sites = (new_injector((width, width, 0), groups, kernel, form) for _ in features)
        self.injectors = nn.ModuleList(sites)

    @classmethod
    def from_transformer(
        cls,
        transformer: SD3Transformer2DModel,
        copied: int,
        form: Form = "residual",
        kernel: int = 1,
    ) -> "FlowIDInjectors":
        """Untrained injectors for a transformer whose ID-Ctrl copied that many blocks.

        Each c_id serves as many blocks in turn. For half the blocks it is the order of SD3's ControlNets (diffusers
        0.42, `SD3Transformer2DModel.forward`), which for more would leave the last ones unread.
        """
        sites = int(transformer.config["num_layers"]) - 1
        features = [site * copied // sites for site in range(sites)]
        return cls(width=transformer.inner_dim, features=features, kernel=kernel, form=form)

    def forward(
        self, site: int, x: Float[Tensor, "B D h w"], c_id: Float[Tensor, "B D h w"], strength: Strength
    ) -> Float[Tensor, "B D h w"]:
        """y_d behind one block; all calls come here, since offloading hangs on `forward`."""
        return self.injectors[site](x, c_id, strength)


Injection = Callable[[Tensor], Tensor]
"""Image tokens (B, N, D) -> the same, modulated."""


@contextmanager
def attached(
    transformer: SD3Transformer2DModel,
    injectors: FlowIDInjectors,
    c_id: Sequence[Tensor],
    strength: Strength = 1.0,
) -> Generator[None]:
    """Within the context the transformer is modulated by `c_id`; afterwards it is as it was before.

    Outputs made within can be differentiated afterwards, with activation checkpointing, too.

    Args:
        transformer: the frozen base.
        injectors: made for it by `FlowIDInjectors.from_transformer`.
        c_id: ID-Ctrl's features.
        strength: 0 gives the base model's output.

    Raises:
        UsageError: if the injectors were made for another number of features or blocks.
    """
    _check(transformer, injectors, c_id)
    inject: dict[nn.Module, Injection] = {
        transformer.transformer_blocks[site]: _injection(injectors, site, c_id[feature], strength)
        for site, feature in enumerate(injectors.features)
    }
    with ExitStack() as undo:
        for block, injection in inject.items():
            undo.callback(block.register_forward_hook(_behind(injection)).remove)
        if transformer.gradient_checkpointing:
            undo.enter_context(_checkpointed(transformer, inject))
        yield


def _injection(injectors: FlowIDInjectors, site: int, control: Tensor, strength: Strength) -> Injection:
    def inject(tokens: Tensor) -> Tensor:
        x = tokens.transpose(1, 2).unflatten(-1, control.shape[-2:])
        return injectors(site, x, control, strength).flatten(2).transpose(1, 2)

    return inject


def _behind(injection: Injection) -> Callable[..., Any]:
    def hook(
        _module: nn.Module, _arguments: tuple[Any, ...], output: tuple[Any, Tensor]
    ) -> tuple[Any, Tensor]:
        text, image = output
        return text, injection(image)

    return hook


@contextmanager
def _checkpointed(transformer: Any, inject: dict[nn.Module, Injection]) -> Generator[None]:
    """The backward pass runs checkpointed blocks again when the hooks are gone: they must hold the injection."""
    original = transformer._gradient_checkpointing_func

    def checkpoint(block: nn.Module, *arguments: Any) -> Any:
        def injected(*again: Any) -> tuple[Any, Tensor]:
            text, image = block.forward(*again)
            return text, inject[block](image)

        return original(injected if block in inject else block, *arguments)

    transformer._gradient_checkpointing_func = checkpoint
    try:
        yield
    finally:
        transformer._gradient_checkpointing_func = original


def _check(transformer: SD3Transformer2DModel, injectors: FlowIDInjectors, c_id: Sequence[Tensor]) -> None:
    sites, blocks = len(injectors.features), len(transformer.transformer_blocks)
    if sites != blocks - 1:
        raise UsageError(
            f"the injectors have {sites} sites, the transformer {blocks - 1}; take its own adapter"
        )
    wanted = max(injectors.features, default=-1) + 1
    if len(c_id) < wanted:
        raise UsageError(
            f"c_id has {len(c_id)} features, expected {wanted}: of an ID-Ctrl made with the injectors"
        )
