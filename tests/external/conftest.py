import pytest

from tests.external.server import Site, serving


@pytest.fixture
def site():
    with serving(Site()) as one:
        yield one


@pytest.fixture(autouse=True)
def own_places(tmp_path_factory, monkeypatch):
    """No test sees the models, packs, caches or proxies of whoever runs it."""
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.setenv("no_proxy", "*")
    for name in (
        "DIFFPC_ASSETS",
        "HF_HOME",
        "HF_HUB_CACHE",
        "HUGGINGFACE_HUB_CACHE",
        "XDG_CACHE_HOME",
        "HF_TOKEN",
    ):
        monkeypatch.delenv(name, raising=False)
