import os
import subprocess
import sys

from diffpc.curate.journal import Journal, survives
from diffpc.curate.record import Listed
from tests.conftest import ROOT
from tests.curate.conftest import SMALL, different
from tests.train.people import encoded


def test_the_last_photo_of_each_attempt_is_suspect(tmp_path):
    file = tmp_path / "work" / "part.parquet"
    assert Journal(file).suspects() == set()
    for attempt in ((0, 1, 2), (0, 1, 2, 3), ()):  # killed at 2, then at 3, then before the first
        journal = Journal(file)
        for number in attempt:
            journal.begin(number)
        found = Journal(file).suspects()
    assert found == {2, 3}
    assert journal.file.name == "part.begun"
    journal.close()
    journal.close()
    assert Journal(file).suspects() == set()


def test_a_suspect_is_tried_in_a_process_of_its_own(tmp_path, astronaut):
    suspects = []
    for name, first_pixel in (("deadly", (255, 0, 255)), ("harmless", (0, 0, 0))):
        image, file = different(astronaut, 3), tmp_path / f"{name}.png"
        image[0, 0] = first_pixel
        file.write_bytes(encoded(image, "PNG"))
        suspects.append(Listed(name, "ada", str(file), file.stat().st_size))
    code = (
        "from diffpc.curate.journal import survives\nfrom diffpc.curate.record import Listed\n"
        "from diffpc.curate.settings import PhotoSettings\n"
        "settings = PhotoSettings(size=64, side=100, text='none', detector='crashing')\n"
        f"print([survives(one, settings) for one in {suspects!r}])"
    )
    path = os.pathsep.join([str(ROOT / "tests" / "curate" / "crashing"), str(ROOT / "src")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert answer.stdout.strip() == "[False, True]", answer.stderr


def test_a_photo_that_is_gone_is_no_crash(tmp_path):
    assert survives(Listed("photo", "ada", str(tmp_path / "nowhere"), 3), SMALL)
