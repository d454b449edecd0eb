import sys
from collections import namedtuple

import pytest

from diffpc.doctor import machine
from diffpc.doctor.machine import machine_checks, memory_bytes
from diffpc.doctor.run import Options, examined


@pytest.fixture
def check(monkeypatch, tmp_path):
    monkeypatch.setenv("DIFFPC_ASSETS", str(tmp_path / "not" / "there" / "yet"))
    examinations = machine_checks(Options())
    return lambda name: examined("machine", name, examinations[name])


def test_a_machine_without_torch_is_told(check, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    found = check("torch")
    assert found.status == "broken" and "torch" in found.detail and found.remedy
    assert check("python").status == check("disk").status == "ok"


def test_an_old_python_is_told(check, monkeypatch):
    monkeypatch.setattr(machine, "OLDEST", (4, 0))
    assert check("python").status == "broken"


def test_little_disk_and_memory_are_warnings(check, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(machine.shutil, "disk_usage", lambda _: usage(10, 5, 5))
    monkeypatch.setattr(machine, "memory_bytes", lambda: 2**30)
    assert check("disk").status == "warning" and "DIFFPC_ASSETS" in check("disk").detail
    assert check("memory").detail == "1.0 GiB; drawing wants 2.0 GiB"
    monkeypatch.setattr(machine, "memory_bytes", lambda: None)
    assert check("memory").status == "ok"


def test_a_containers_limit_counts(monkeypatch, tmp_path):
    (tmp_path / "max").write_text("max\n")
    (tmp_path / "limit").write_text("1000\n")
    monkeypatch.setattr(machine, "_GROUP_LIMITS", (str(tmp_path / "max"), str(tmp_path / "none")))
    everything = memory_bytes()
    assert everything is None or everything > 2**28
    monkeypatch.setattr(machine, "_GROUP_LIMITS", (str(tmp_path / "limit"),))
    assert memory_bytes() == 1000


def test_threads_name_what_sets_them(check, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert check("threads").detail.endswith("OMP_NUM_THREADS=3")
