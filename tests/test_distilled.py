"""Which steps and guidance distilled weights are for, by their files' names."""

from pathlib import Path

import pytest

from diffpc.changes import Lora, parsed_lora
from diffpc.distilled import SCHEDULES, check_steps, chosen_schedule
from diffpc.errors import UsageError


@pytest.mark.parametrize(
    ("name", "kind", "steps", "usual"),
    [
        ("sdxl_lightning_2step_unet.safetensors", "lightning", (2,), 2),
        ("sdxl_lightning_4step_lora.safetensors", "lightning", (4,), 4),
        ("sdxl_lightning_8step.safetensors", "lightning", (8,), 8),
        ("Hyper-SDXL-4steps-lora.safetensors", "hyper", (4,), 4),
        ("Hyper-SDXL-12steps-CFG-lora.safetensors", "hyper-cfg", (12,), 12),
        ("lcm_lora_sdxl.safetensors", "lcm", tuple(range(2, 9)), 4),
    ],
)
def test_published_names(name: str, kind: str, steps: tuple[int, ...], usual: int) -> None:
    found = chosen_schedule(None, [Path("style.safetensors"), Path(name)])
    assert found is not None and (found.name, found.steps, found.usual) == (kind, steps, usual)
    assert chosen_schedule(kind, [Path(name)]) == found


def test_other_names_are_no_promise() -> None:
    assert chosen_schedule(None, [Path("lightning_bolts.safetensors")]) is None
    assert chosen_schedule("lightning", [Path("mine.safetensors")]) == SCHEDULES["lightning"]


def test_choices_that_do_not_go_together() -> None:
    two = [Path("sdxl_lightning_2step_unet.safetensors"), Path("lcm_lora_sdxl.safetensors")]
    with pytest.raises(UsageError, match="are both distilled"):
        chosen_schedule(None, two)
    with pytest.raises(UsageError, match="choose one of: lightning, hyper, hyper-cfg, lcm"):
        chosen_schedule("fast", [])
    with pytest.raises(UsageError, match="sampler of their own; take 2, 4, 8"):
        chosen_schedule(None, [Path("sdxl_lightning_1step_unet_x0.safetensors")])


def test_steps_and_guidance_of_the_weights_alone() -> None:
    four = chosen_schedule(None, [Path("sdxl_lightning_4step_unet.safetensors")])
    assert four is not None
    check_steps(four, 4, 1.0)
    with pytest.raises(
        UsageError, match="3 steps: these lightning weights are distilled for 4; pass --steps 4"
    ):
        check_steps(four, 3, 1.0)
    with pytest.raises(
        UsageError, match="guidance 2: lightning weights are distilled for 1; pass --guidance 1"
    ):
        check_steps(four, 4, 2.0)
    check_steps(SCHEDULES["lcm"], 5, 1.5)
    with pytest.raises(UsageError, match="for 5 to 8; pass --guidance 5"):
        check_steps(SCHEDULES["hyper-cfg"], 8, 1.0)


def test_a_loras_weight(tmp_path: Path) -> None:
    assert parsed_lora("a/b.safetensors=0.25") == Lora(Path("a/b.safetensors"), 0.25)
    assert parsed_lora("a/b.safetensors=-1") == Lora(Path("a/b.safetensors"), -1.0)
    assert parsed_lora("a/b.safetensors") == Lora(Path("a/b.safetensors"))
    odd = tmp_path / "style=3"
    odd.touch()
    assert parsed_lora(odd) == Lora(odd)
    for weight in ("much", "", "nan", "11"):
        with pytest.raises(UsageError, match="expected FILE=WEIGHT"):
            parsed_lora(f"b.safetensors={weight}")
