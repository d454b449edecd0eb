from pathlib import Path

import pytest

from diffpc.external.places import assets_root, hub_cache


def test_the_folder_of_models_follows_the_variable(monkeypatch, tmp_path):
    assert assets_root() == Path.home() / ".cache" / "diffpc"
    monkeypatch.setenv("DIFFPC_ASSETS", str(tmp_path))
    assert assets_root() == tmp_path


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "~/.cache/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x"}, "/x/huggingface/hub"),
        ({"XDG_CACHE_HOME": "/x", "HF_HOME": "/h"}, "/h/hub"),
        ({"HF_HOME": "/h", "HF_HUB_CACHE": "~/c"}, "~/c"),
        ({"HUGGINGFACE_HUB_CACHE": "/old"}, "/old"),
    ],
)
def test_the_hubs_cache_is_where_its_library_looks(monkeypatch, variables, expected):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert hub_cache() == Path(expected).expanduser()
