from importlib import metadata

import pytest
from packaging.requirements import Requirement

from diffpc.doctor.packages import fault_of, package_checks, requirements
from diffpc.doctor.run import Options, examined

real = metadata.version


@pytest.fixture
def without(monkeypatch):
    """Hides packages, or gives them another version."""

    def hide(**versions):
        def version(name):
            known = versions.get(name.replace("-", "_"), real)
            if known is None:
                raise metadata.PackageNotFoundError(name)
            return known if isinstance(known, str) else real(name)

        monkeypatch.setattr(metadata, "version", version)

    return hide


def check(name):
    return examined("packages", name, package_checks(Options())[name])


def test_requirements_come_from_the_package_itself():
    groups = requirements()
    assert "torch" in {one.name for one in groups[""]}
    assert {one.name for one in groups["insightface"]} == {"insightface", "onnxruntime", "onnx"}
    assert not {"torch", "numpy"} & {one.name for one in groups["evaluate"]}


def test_an_extra_that_is_not_installed_is_no_fault(without):
    without(peft=None)
    found = check("lora")
    assert (found.status, found.detail) == ("absent", "peft is not installed")
    assert found.remedy == "pip install 'diffpc[lora]'"


def test_an_old_package_is_a_warning(without):
    without(peft="0.1")
    found = check("lora")
    assert found.status == "warning" and found.detail == "peft is 0.1, >=0.18 is needed"


def test_a_needed_package_that_is_missing_is_broken(without):
    without(diffusers=None)
    found = check("needed")
    assert found.status == "broken" and found.detail == "diffusers is not installed"
    assert found.remedy == "pip install 'diffusers>=0.42'"


def test_versions_before_a_release_count(without):
    without(torch="2.13.0+cpu")
    assert fault_of(Requirement("torch>=2.6")) is None
    without(torch="3.0.0rc1")
    assert fault_of(Requirement("torch>=2.6")) is None
