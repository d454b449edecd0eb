"""Libraries are imported without garbage collection, once."""

import subprocess
import sys

PROGRAM = """
import gc, sys
from diffpc.imports import kept
with kept("json.tool"):
    assert not gc.isenabled()
    import json.tool
assert gc.isenabled()
frozen = gc.get_freeze_count()
assert frozen > 0
with kept("json.tool"):
    assert gc.isenabled()  # it is here already: nothing to gain
assert gc.get_freeze_count() == frozen
gc.disable()
with kept("tomllib"):
    import tomllib
assert not gc.isenabled() and gc.get_freeze_count() == frozen  # somebody else's choice
gc.enable()
try:
    with kept("absent"):
        import absent
except ImportError:
    assert gc.isenabled()
else:
    raise AssertionError
"""


def test_the_collector_rests_while_a_library_is_imported() -> None:
    """In a process of its own: what is frozen stays so."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
