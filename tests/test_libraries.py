import sys

import pytest
import torch

from diffpc.errors import UsageError
from diffpc.libraries import check_compiler, missing_compiler

CPU = torch.device("cpu")


def test_the_compiler_that_the_environment_names_counts(monkeypatch):
    monkeypatch.setenv("CXX", sys.executable)
    assert missing_compiler(CPU) is None
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert missing_compiler(CPU) == "a C++ compiler (no-such-compiler)"


def test_without_a_compiler_nothing_is_compiled(monkeypatch, tmp_path):
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler \(g\+\+ or clang\+\+\), which is not here"):
        check_compiler(CPU)
    for name in ("g++", "clang++"):
        (tmp_path / name).touch(mode=0o755)
        check_compiler(CPU)
        (tmp_path / name).unlink()
