"""`diffpc assets` as a user types it."""

import json
import subprocess
import sys

import pytest

from diffpc import cli
from tests.external.server import Site, serving


@pytest.fixture
def root(tmp_path, monkeypatch):
    monkeypatch.setenv("DIFFPC_ASSETS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "*")
    return tmp_path


def words(*given):
    return cli.main(["assets", *given])


def test_list_loads_nothing_heavy_and_shows_every_asset():
    heavy = "{'torch', 'diffusers', 'transformers', 'numpy', 'huggingface_hub', 'requests', 'httpx'}"
    code = (
        "import sys\nfrom diffpc import cli\ncli.main(['assets', 'list'])\n"
        f"print('loaded', sorted({heavy} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("loaded []\n")
    assert "antelopev2" in answer.stdout and "sdxl_lightning_8step_lora" in answer.stdout


def test_list_tells_present_absent_and_wrong(root, capsys):
    (root / "SMIRK_em1.pt").write_bytes(b"x")
    (root / "flame.safetensors").write_bytes(b"x")
    assert words("list", "--json") == 0
    found = {one["name"]: one for one in json.loads(capsys.readouterr().out)}
    assert found["smirk"]["state"] == "present" and found["sdxl"]["state"] == "absent"
    assert found["flame"]["state"] == "wrong" and found["flame"]["registration"] is True
    assert found["flame"]["files"][0]["detail"] == "is no safetensors file"
    assert found["antelopev2"]["source"]["kind"] == "Archive"
    assert found["antelopev2"]["licence"]["commercial"] == "no"
    assert words("list") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["NAME", "STATE", "SIZE", "COMMERCIAL", "FOR"]
    assert any(line.split()[:2] == ["smirk", "present"] for line in lines)
    assert words("list", "smirk") == 0
    assert "read by: predictor smirk" in capsys.readouterr().out


def test_verify_says_unknown_and_wrong(root, capsys):
    (root / "SMIRK_em1.pt").write_bytes(b"x")
    assert words("verify", "smirk", "inception") == 0
    assert capsys.readouterr().out == "smirk: present, hash unknown\ninception: absent\n"
    (root / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"x")
    assert words("verify", "inception") == 3
    assert "is cut short: 1 of 95628359 bytes; run: diffpc assets fetch inception" in capsys.readouterr().out


def test_fetch_brings_what_it_can_and_tells_the_rest(root, capsys):
    name = "CompVis/stable-diffusion-safety-checker/resolve/1664e306d2258485321cbbd8083074c9474d4e41"
    contents = {file: file.encode() for file in ("config.json", "preprocessor_config.json")}
    contents["model.safetensors"] = b"\x02\0\0\0\0\0\0\0{}"
    with serving(Site(files={f"/{name}/{file}": content for file, content in contents.items()})) as site:
        code = words("fetch", "flame", "safety_checker", "--mirror", site.url, "--quiet", "--json")
    output = capsys.readouterr()
    flame, checker = json.loads(output.out)
    assert code == 3 and flame["fault"] is not None and checker["fault"] is None
    assert [one["hashed"] for one in checker["files"]] == [False] * 3
    assert output.err.startswith("diffpc: flame: ") and output.err.count("\n") == 1
    for file, content in contents.items():
        assert (root / "safety_checker" / file).read_bytes() == content


def test_fetch_refuses_another_file(root, capsys):
    name = "pt_inception-2015-12-05-6726825d.pth"
    path = f"/mseitzer/pytorch-fid/releases/download/fid_weights/{name}"
    with serving(Site(files={path: b"x"})) as site:
        assert words("fetch", "inception", "--mirror", site.url) == 3
    assert "has 1 bytes on the server, expected 95628359" in capsys.readouterr().err
    assert not (root / name).exists()


@pytest.mark.parametrize(
    "given", [["fetch"], ["fetch", "nothing"], ["list", "nothing"], ["steal"], ["licence", "--model", "x"]]
)
def test_wrong_words_exit_with_2(given, root, capsys):
    assert words(*given) == 2
    output = capsys.readouterr()
    assert output.out == "" and output.err.count("\n") == 1


def test_licence_reports(capsys):
    assert words("licence", "--model", "sdxl", "--embedder", "dlib", "--add", "lcm_lora_sdxl", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["commercial"] == "no" and report["parts"][-1]["name"] == "lcm_lora_sdxl"
    assert words("licence") == 0
    assert "may be used commercially: no, because of base" in capsys.readouterr().out


@pytest.mark.parametrize("given", [["assets", "fetch", "--help"], ["doctor", "--help"]])
def test_help_loads_nothing_heavy(given):
    heavy = "{'torch', 'diffusers', 'transformers', 'cv2', 'numpy'}"
    code = (
        f"import sys\nfrom diffpc import cli\ntry:\n    cli.main({given})\nexcept SystemExit:\n    pass\n"
        f"print('loaded', sorted({heavy} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("loaded []\n")
    assert "--json" in answer.stdout


def test_help(capsys):
    assert words() == 2 and words("--help") == 0
    assert "licence [OPTIONS]" in capsys.readouterr().out
