"""From a short training run to an adapter's file and a whole model."""

import json
import os
import shutil
from dataclasses import asdict, replace

import numpy as np
import pytest
import safetensors.torch
import torch

from diffpc import cli
from diffpc.adapter_file import ADAPTER, read_adapter, save_adapter
from diffpc.errors import InputError, UsageError
from diffpc.loading import load_adapter, load_pipeline
from diffpc.pipeline import DiffPCPipeline
from diffpc.train import checkpoint
from diffpc.train.export import export, put_weights, read_checkpoint
from diffpc.train.recipe import tiny
from diffpc.train.run import Places, train
from diffpc.train.settings import ExportSettings
from diffpc.train.stages import trained_modules
from diffpc.weights import load_weights, sha256
from tests.pipelines import random_pipeline
from tests.test_pipeline_forms import image, seeing
from tests.train.people import encoded, portrait, write_folders

EXACT = ExportSettings(precision="float32")
SHORT = replace(
    tiny(),
    loop=replace(
        tiny().loop, images=8, batch=4, ema_images=40.0, warmup_images=0, checkpoint_images=4, keep=3
    ),
    engine=replace(tiny().engine, tracker="none"),
    preview_images=0,
)


@pytest.fixture(scope="module")
def people(astronaut, tmp_path_factory):
    files = {
        f"{name}/{number}.jpg": encoded(portrait(astronaut, number)) for name in "ab" for number in (0, 1)
    }
    return write_folders(tmp_path_factory.mktemp("people"), files)


@pytest.fixture(scope="module")
def finished(people, random_model, tmp_path_factory):
    """A run's trainer; its checkpoints are after 4 and 8 images."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    return train(SHORT, Places(people, folder, str(random_model)), lambda _: None, progress=False)


@pytest.fixture
def run(finished, tmp_path):
    """A copy to spoil; tensors are linked, so they are to be replaced and never written into."""

    def copy(source, target):
        return os.link(source, target) if source.endswith(".safetensors") else shutil.copy(source, target)

    ignored = shutil.ignore_patterns("cache")
    return shutil.copytree(finished.folder, tmp_path / "run", ignore=ignored, copy_function=copy)


@pytest.fixture(scope="module")
def trained(finished):
    """The pipeline in memory, with averaged weights, as the trainer left it."""
    pipeline = random_pipeline()
    modules = {name: getattr(pipeline, name) for name in ADAPTER}
    values = {name: value.detach().cpu() for name, value in finished.averaged().items()}
    for name, module in modules.items():
        module.load_state_dict({key: values[f"{name}.{key}"] for key in module.state_dict()})
    return seeing(pipeline)


def silent(_line):
    """Takes news."""


def flat(pipeline):
    return {
        f"{name}.{key}": value
        for name in ADAPTER
        for key, value in getattr(pipeline, name).state_dict().items()
    }


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


NEWEST = "checkpoint-0000000008"


def restated(run, change):
    """The newest checkpoint with another state."""
    file = run / NEWEST / checkpoint.STATE
    state = json.loads(file.read_text())
    change(state)
    file.write_text(json.dumps(state))


def rewritten(run, change):
    """The newest checkpoint with other tensors; those of the optimiser are left out."""
    file = run / NEWEST / checkpoint.TENSORS
    tensors = {name: value.clone() for name, value in load_weights(file, None).items() if "optim" not in name}
    change(tensors)
    file.unlink()
    safetensors.torch.save_file(tensors, file)
    restated(run, lambda state: state.update(sha256=sha256(file)))


def test_a_graded_run_draws_without_guidance_and_leaves_its_helpers(run, tmp_path):
    """A run of that stage has the base's weights too, and a discriminator's."""
    base = {"unet", "text_encoder", "text_encoder_2"}
    pipeline = random_pipeline()

    def graded(tensors):
        for name in base:
            for key, value in getattr(pipeline, name).state_dict().items():
                for kind in ("weight", "average"):
                    tensors[f"{kind}/{name}.{key}"] = value.clone() + 1
        for kind in ("weight", "average"):
            tensors[f"{kind}/discriminator.heads.0.0.bias"] = torch.ones(3)

    rewritten(run, graded)
    restated(run, lambda state: state["settings"].update(stage="obey"))
    export(run, tmp_path / "model", EXACT, silent)
    found = DiffPCPipeline.from_pretrained(tmp_path / "model")
    assert found.config["defaults"]["guidance"] == 1.0
    assert torch.equal(found.unet.conv_in.weight, pipeline.unet.conv_in.weight + 1)


def test_a_critic_is_no_model(run, tmp_path):
    restated(run, lambda state: state["settings"].update(stage="critic"))
    with pytest.raises(UsageError, match="--critic"):
        export(run, tmp_path / "model", EXACT, silent)


def test_the_adapter_has_the_averaged_weights_or_the_raw_ones(finished, tmp_path):
    averaged, raw = tmp_path / "averaged.safetensors", tmp_path / "raw.safetensors"
    found = export(finished.folder, averaged, EXACT, silent)
    assert found.output == str(averaged) and found.size == averaged.stat().st_size
    assert (found.images, found.averaged, found.precision) == (8, True, "float32")
    assert not export(finished.folder, raw, replace(EXACT, raw=True), silent).averaged
    wanted = finished.averaged()
    assert equal(load_weights(averaged, None), wanted)
    last = {name: value.detach() for name, value in finished.parameters.items()} | finished.buffers
    assert equal(load_weights(raw, None), last)
    assert not torch.equal(wanted["id_encoder.queries"], last["id_encoder.queries"])
    assert finished.buffers["id_encoder.local_mean"].abs().max() > 0  # fitted to the photos


def test_an_older_checkpoint_can_be_chosen(finished, tmp_path):
    found = export(
        finished.folder, tmp_path / "a.safetensors", replace(EXACT, checkpoint=4, raw=True), silent
    )
    assert found.images == 4
    tensors, _ = checkpoint.load_at(finished.folder, 4)
    name = "id_ctrl.conv_in.weight"
    stored = load_weights(tmp_path / "a.safetensors", None)[name]
    assert torch.equal(stored, tensors[f"weight/{name}"])
    assert not torch.equal(stored, finished.parameters[name])
    with pytest.raises(InputError, match="has no checkpoint after 6 images; choose one of: 4, 8"):
        export(finished.folder, tmp_path / "b.safetensors", replace(EXACT, checkpoint=6), silent)


def test_a_damaged_newest_one_is_passed_over(run, tmp_path):
    (run / NEWEST / checkpoint.TENSORS).unlink()
    news = []
    assert export(run, tmp_path / "a.safetensors", EXACT, news.append).images == 4
    assert news == ["checkpoint-0000000008 is damaged and was passed over"]
    (run / "checkpoint-0000000004" / "state.json").unlink()
    with pytest.raises(InputError, match="all checkpoints are damaged"):
        export(run, tmp_path / "b.safetensors", EXACT, news.append)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_file_and_folder_draw_what_the_pipeline_in_memory_draws(finished, trained, precision, tmp_path):
    """Of the same numbers, computed in float32."""
    settings = ExportSettings(precision=precision)
    export(finished.folder, tmp_path / "a.safetensors", settings, silent)
    export(finished.folder, tmp_path / "whole", settings, silent)
    dtype = getattr(torch, precision)
    for path in [tmp_path / "a.safetensors", *(tmp_path / "whole").rglob("*.safetensors")]:
        stored = load_weights(path, None).values()
        assert {value.dtype for value in stored if value.is_floating_point()} == {dtype}
    memory = rounded(trained, ADAPTER, dtype)
    on_base = load_adapter(tmp_path / "a.safetensors", random_pipeline())
    assert np.array_equal(image(seeing(on_base)), image(memory))
    memory = rounded(memory, [*ADAPTER, "vae", "unet", "text_encoder", "text_encoder_2"], dtype)
    whole = load_pipeline(str(tmp_path / "whole"), device="cpu", dtype="float32")
    assert np.array_equal(image(seeing(whole)), image(memory))
    assert whole.config["faces"] == json.loads(json.dumps(asdict(SHORT.model.faces)))


def rounded(pipeline, names, dtype):
    """Another pipeline of the same numbers as `dtype` holds them, in float32."""
    copy = seeing(random_pipeline())
    for name in ADAPTER:
        getattr(copy, name).load_state_dict(getattr(pipeline, name).state_dict())
    for name in names:
        torch.nn.Module.float(torch.nn.Module.to(getattr(copy, name), dtype=dtype))
    return copy


def test_the_whole_model_is_the_librarys_and_tells_no_paths(finished, trained, random_model, tmp_path):
    export(finished.folder, tmp_path / "whole", EXACT, silent)
    loaded = DiffPCPipeline.from_pretrained(tmp_path / "whole", local_files_only=True)
    assert equal(flat(loaded), flat(trained))
    assert loaded.scheduler.config["timestep_spacing"] == "trailing"
    for path in (tmp_path / "whole").rglob("*.json"):
        assert str(random_model) not in path.read_text()


def test_the_same_run_gives_the_same_bytes(finished, tmp_path):
    for name in ("one.safetensors", "two.safetensors"):
        export(finished.folder, tmp_path / name, ExportSettings(), silent)
    assert sha256(tmp_path / "one.safetensors") == sha256(tmp_path / "two.safetensors")


def test_bfloat16_rounds_and_nothing_else(finished, trained, tmp_path):
    export(finished.folder, tmp_path / "a.safetensors", ExportSettings(precision="bfloat16"), silent)
    stored = load_weights(tmp_path / "a.safetensors", None)
    assert equal(stored, {name: value.bfloat16() for name, value in flat(trained).items()})


def test_an_output_is_replaced_only_if_asked(finished, tmp_path):
    for name in ("a.safetensors", "whole"):
        output = tmp_path / name
        export(finished.folder, output, replace(EXACT, raw=True), silent)
        with pytest.raises(UsageError, match=f"{name}: exists; pass --force"):
            export(finished.folder, output, EXACT, silent)
        export(finished.folder, output, replace(EXACT, force=True), silent)
        averaged = finished.averaged()
        file = output if output.is_file() else output / "id_encoder" / "diffusion_pytorch_model.safetensors"
        key = "id_encoder.queries" if output.is_file() else "queries"
        assert torch.equal(load_weights(file, None)[key], averaged["id_encoder.queries"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.safetensors", "whole"]


def test_nothing_but_a_model_is_ever_replaced(finished, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "diary").write_text("mine")
    (tmp_path / "a.safetensors").mkdir()
    (tmp_path / "file").write_text("mine")
    for name in ("mine", "a.safetensors", "file"):
        with pytest.raises(UsageError, match="exists and is no model"):
            export(finished.folder, tmp_path / name, replace(EXACT, force=True), silent)
    assert (tmp_path / "mine" / "diary").read_text() == (tmp_path / "file").read_text() == "mine"


def test_averages_must_be_whole(run, tmp_path):
    rewritten(run, lambda tensors: tensors.pop("average/id_encoder.queries"))
    with pytest.raises(InputError, match=r"averages of 1 of \d+ weights are missing; pass --raw"):
        export(run, tmp_path / "a.safetensors", EXACT, silent)
    assert export(run, tmp_path / "a.safetensors", replace(EXACT, raw=True), silent).images == 8


def test_weights_must_be_those_of_the_networks(finished):
    found = read_checkpoint(finished.folder, None, silent)
    modules = trained_modules("adapter", random_pipeline())
    name, mean = "average/id_encoder.queries", "buffer/id_encoder.local_mean"
    others = {key: value for key, value in found.tensors.items() if key != mean}
    cases = {
        r"wrong shape: id_encoder.queries is \[2\] instead of \[1, 32, 256\]": found.tensors
        | {name: torch.zeros(2)},
        "missing: id_encoder.local_mean": others,
        "unexpected: more": found.tensors | {"average/more": torch.zeros(2)},
    }
    for message, tensors in cases.items():
        with pytest.raises(InputError, match=message):
            put_weights(modules, replace(found, tensors=tensors), averaged=True)
    put_weights(modules, found, averaged=True)
    assert torch.equal(modules["id_encoder"].queries, found.tensors[name])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            1e5,
            "id_encoder.queries has the value 100000, and float16 goes to 65504; choose another --precision",
        ),
        (torch.nan, "id_encoder.queries has the value nan"),
    ],
)
def test_values_that_the_number_type_cannot_hold(run, tmp_path, value, message):
    rewritten(run, lambda tensors: tensors["average/id_encoder.queries"].fill_(value))
    with pytest.raises(InputError, match=message):
        export(run, tmp_path / "a.safetensors", ExportSettings(), silent)
    assert not list(tmp_path.glob("*a.safetensors*"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state["settings"]["loop"].update(speed=3), "unknown field 'speed' in recipe.loop"),
        (lambda state: state.update(settings=[]), "is not of `diffpc train`"),
        (lambda state: state["settings"].pop("base"), "is not of `diffpc train`"),
        (lambda state: state["settings"].update(base="./nowhere"), "nowhere: no such file or folder"),
        (lambda state: state["settings"].update(start_from="./nowhere"), "nowhere: no such file or folder"),
    ],
)
def test_a_run_that_cannot_be_rebuilt_is_one_line(run, tmp_path, change, message):
    restated(run, change)
    with pytest.raises(InputError, match=message):
        export(run, tmp_path / "a.safetensors", ExportSettings(), silent)
    assert not list(tmp_path.glob("*a.safetensors*"))


def test_a_folder_without_a_run(tmp_path):
    with pytest.raises(InputError, match="holds no checkpoint; give the --output of `diffpc train`"):
        export(tmp_path, tmp_path / "a.safetensors", EXACT, silent)


def test_a_run_without_averages_gives_its_weights(run, tmp_path):
    restated(run, lambda state: state["settings"]["loop"].update(ema_images=0.0))
    news = []
    assert not export(run, tmp_path / "a.safetensors", EXACT, news.append).averaged
    assert news == ["the run keeps no averages; the weights are those of the last step"]


def test_base_and_beginning_may_have_moved(run, random_model, tmp_path):
    """A run that began with an adapter has that one's forms."""
    begun = random_pipeline()
    begun.register_to_config(defaults={"steps": 3})
    save_adapter(begun, tmp_path / "begun.safetensors")
    restated(run, lambda state: state["settings"].update(base="gone", start_from="gone.safetensors"))
    moved = replace(EXACT, base=str(random_model), start_from=str(tmp_path / "begun.safetensors"))
    export(run, tmp_path / "a.safetensors", moved, silent)
    assert read_adapter(tmp_path / "a.safetensors", torch.float32).defaults == {"steps": 3}


def test_a_stage_without_an_adapter_alone_needs_a_folder(run, tmp_path):
    restated(run, lambda state: state["settings"].update(stage="base"))
    with pytest.raises(UsageError, match="of stage 'base' makes no adapter that stands alone; name a folder"):
        export(run, tmp_path / "a.safetensors", EXACT, silent)


def test_the_command_exports_what_generate_draws_with(
    finished, random_model, astronaut_path, tmp_path, capsys
):
    run, file = str(finished.folder), tmp_path / "a.safetensors"
    assert cli.main(["export", run, str(file)]) == 0
    size = f"{file.stat().st_size / 2**20:.1f} MiB"
    assert capsys.readouterr().out == f"{file}: {size}, averaged weights after 8 images, float16\n"
    assert cli.main(["export", run, str(file), "--raw", "--force", "--checkpoint", "4", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert (answer["images"], answer["averaged"], answer["notes"]) == (4, False, [])
    words = ["generate", "--reference", str(astronaut_path), "--prompt", "a portrait", "--steps", "1"]
    words += ["--output", str(tmp_path / "out.png"), "--model", str(file), "--json"]
    assert cli.main([*words, "--base", "tiny"]) == 0
    weights = json.loads(capsys.readouterr().out)["weights"]
    assert weights["a.safetensors"] == sha256(file)
    assert [name for name in weights if not name.startswith("base/")] == ["a.safetensors"]
    assert cli.main(words) == 2
    assert "holds an adapter alone; pass --base" in capsys.readouterr().err


def test_the_commands_faults_are_one_line(finished, tmp_path, capsys):
    (tmp_path / "a.safetensors").write_bytes(b"")
    run, output = str(finished.folder), str(tmp_path / "b.safetensors")
    assert cli.main(["export", run, str(tmp_path / "a.safetensors")]) == 2
    assert "exists; pass --force" in capsys.readouterr().err
    assert cli.main(["export", run, output, "--checkpoint", "5"]) == 3
    line = capsys.readouterr().err
    assert line.startswith("diffpc: ") and line.count("\n") == 1
    with pytest.raises(SystemExit) as caught:
        cli.main(["export", run, output, "--precision", "int8"])
    assert caught.value.code == 2
    assert not (tmp_path / "b.safetensors").exists()
