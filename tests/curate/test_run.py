"""Whole curations of a few photos, with the real networks."""

import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest

from diffpc import cli
from diffpc.curate.parts import read_columns
from diffpc.curate.report import write_report
from diffpc.curate.run import Places, curate
from diffpc.curate.settings import (
    CaptionSettings,
    CurateSettings,
    EngineSettings,
    PersonSettings,
    ShardSettings,
)
from diffpc.errors import InputError, UsageError
from diffpc.photos import read_photos
from tests.conftest import ROOT
from tests.curate.conftest import SMALL, different, opened
from tests.train.people import encoded

SETTINGS = CurateSettings(
    SMALL,
    PersonSettings(minimum=2, similarity=0.2),
    CaptionSettings(count=2, plain=1),
    shards=ShardSettings(4),
)
SERIAL = EngineSettings("serial")
COMMAND = [
    *("--photos.size", "64", "--photos.side", "100", "--photos.text", "none", "--photos.part", "3"),
    *(
        "--persons.minimum",
        "2",
        "--persons.similarity",
        "0.2",
        "--captions.count",
        "2",
        "--captions.plain",
        "1",
    ),
    *("--shards.photos", "4", "--run.workers", "2"),
]
"""The same settings as words."""


def made(places, settings=SETTINGS):
    return curate(places, settings, SERIAL, lambda _: None)


def contents(destination):
    """All files of a set but the times."""
    return {
        file.relative_to(destination).as_posix(): file.read_bytes()
        for file in destination.rglob("*")
        if file.is_file() and ".work" not in file.parts and file.name not in ("times.json", "report.html")
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory, astronaut):
    """A source and its complete set, made in this process; treat both as read-only."""
    root = tmp_path_factory.mktemp("whole")
    source = root / "photos"
    for person, numbers in (("ada", (0, 1, 2, 3)), ("bob", (7, 8, 9)), ("cy", (5,))):
        (source / person).mkdir(parents=True)
        for number in numbers:
            (source / person / f"{number}.png").write_bytes(encoded(different(astronaut, number), "PNG"))
    (source / "ada" / "copy.png").write_bytes((source / "ada" / "1.png").read_bytes())
    (source / "bob" / "text.jpg").write_bytes(b"this is no photo")
    places = Places(source, root / "set")
    return places, made(places)


def program(*words, environment=None):
    return subprocess.Popen(
        [sys.executable, "-m", "diffpc.cli", "curate", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "OMP_NUM_THREADS": "1", **(environment or {})},
    )


def test_a_set_is_what_training_reads(whole):
    places, outcome = whole
    assert (outcome.photos, outcome.persons, outcome.shards) == (7, 2, 2)
    assert outcome.rejects == {"copy": 1, "few_photos": 1, "undecodable": 1}
    photos = read_photos(places.destination)
    assert [photo.key for photo in photos] == [f"0000{n // 4}000{n % 4}" for n in range(7)]
    assert [photo.person for photo in photos] == ["ada"] * 4 + ["bob"] * 3
    assert all(len(photo.captions) == 2 for photo in photos)
    assert opened(photos[0].read()).shape == (64, 64, 3)


def test_the_layout_is_img2datasets(whole):
    places, _ = whole
    with tarfile.open(places.destination / "00001.tar") as tar:
        assert tar.getnames() == [f"0000100{n:02d}{s}" for n in range(3) for s in (".jpg", ".txt", ".json")]
        values = json.load(tar.extractfile("000010000.json"))
    assert (values["person"], values["source_key"], values["status"]) == ("bob", "bob/7.png", "success")
    assert (values["width"], values["original_width"]) == (64, 280)
    index = json.loads((places.destination / "index.json").read_bytes())
    assert {person: len(keys) for person, keys in index.items()} == {"ada": 4, "bob": 3}


def test_the_table_holds_every_field(whole):
    places, _ = whole
    table = read_columns(
        places.destination / "00000.parquet", ("square", "face_box", "landmarks", "embedding")
    )
    row = table.to_pylist()[0]
    assert len(row["embedding"]) == 128 and len(row["landmarks"]) == 10
    x0, y0, x1, y1 = row["face_box"]
    points = np.array(row["landmarks"]).reshape(5, 2)
    assert ((points > [x0, y0]) & (points < [x1, y1])).all() and 0 <= x0 < x1 <= 64
    rejects = read_columns(
        places.destination / "rejects.parquet", ("source_key", "stage", "reason")
    ).to_pylist()
    found = {row["source_key"]: (row["stage"], row["reason"]) for row in rejects}
    # Of the two files that are the same, the first by name is kept.
    assert found == {
        "ada/copy.png": ("copies", "copy"),
        "bob/text.jpg": ("decode", "undecodable"),
        "cy/5.png": ("persons", "few_photos"),
    }


def test_a_set_that_is_complete_is_not_made_again(whole):
    places, outcome = whole
    before = {file: file.stat().st_mtime_ns for file in places.destination.rglob("*.parquet")}
    assert made(places) == outcome
    assert {file: file.stat().st_mtime_ns for file in places.destination.rglob("*.parquet")} == before


def test_another_set_does_not_mix_with_it(whole):
    places, _ = whole
    other = replace(SETTINGS, persons=PersonSettings(minimum=3))
    with pytest.raises(UsageError, match="holds a set of other photos or settings; choose another folder"):
        made(places, other)


def test_a_part_that_is_there_is_not_made_again(whole, tmp_path):
    places, outcome = whole
    shared = Places(places.source, tmp_path / "again", parts=places.work)
    parts = {file: file.stat().st_mtime_ns for file in places.work.glob("photos-*/*.parquet")}
    assert len(parts) == 4 and made(shared) == outcome
    assert {file: file.stat().st_mtime_ns for file in places.work.glob("photos-*/*.parquet")} == parts
    assert contents(shared.destination) == contents(places.destination)


def test_two_commands_do_not_make_one_set(whole):
    places, _ = whole
    with (places.work / "lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(UsageError, match="another command is at work there"):
            made(places)


def test_nothing_left_is_an_error(whole, tmp_path):
    places, _ = whole
    none = Places(places.source, tmp_path / "none", parts=places.work)
    with pytest.raises(InputError, match=r"none of 10 photos is left .*few_photos 8.*lower the thresholds"):
        made(none, replace(SETTINGS, persons=PersonSettings(minimum=9, similarity=0.2)))


def test_the_report_shows_the_set(whole):
    places, _ = whole
    page = write_report(places.destination, places.work, SETTINGS).read_text()
    for part in ("<td>persons</td><td>2</td><td>32,000</td>", "few_photos", "Race is left out on purpose"):
        assert part in page
    for name in ("photos_per_person", "face_share", "yaw", "expression", "quality", "rejects_few_photos"):
        assert f"report/figures/{name}.png" in page
        assert opened((places.destination / "report" / "figures" / f"{name}.png").read_bytes()).std() > 0
    assert "<script" not in page
    assert len(read_photos(places.destination)) == 7  # its pictures are not taken for a person's photos


def test_killed_and_run_again_on_ray_gives_the_same_set(whole, tmp_path):
    pytest.importorskip("ray")
    places, _ = whole
    words = [places.source, tmp_path / "set", *COMMAND]
    first = program(*words)
    parts = tmp_path / "set" / ".work"
    end = time.monotonic() + 240
    while not list(parts.glob("photos-*/part-*.parquet")) and time.monotonic() < end and first.poll() is None:
        time.sleep(0.05)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert list(parts.glob("photos-*/part-*.parquet")) and not list((tmp_path / "set").glob("*.tar"))
    second = program(*words)
    output, errors = second.communicate(timeout=400)
    assert second.returncode == 0, errors
    assert "parts were made before" in errors and "7 photos of 2 persons, 3 left out" in output
    expected = {
        name: value for name, value in contents(places.destination).items() if not name.startswith("report")
    }
    assert {name: value for name, value in contents(tmp_path / "set").items() if name in expected} == expected


def test_a_photo_that_kills_its_worker_costs_itself_only(whole, tmp_path, astronaut):
    pytest.importorskip("ray")
    places, _ = whole
    source = tmp_path / "photos"
    source.mkdir()
    for person in ("ada", "bob"):
        (source / person).symlink_to(places.source / person)
    deadly = different(astronaut, 20)
    deadly[0, 0] = (255, 0, 255)
    (source / "dee").mkdir()
    (source / "dee" / "deadly.png").write_bytes(encoded(deadly, "PNG"))
    path = os.pathsep.join([str(ROOT / "tests" / "curate" / "crashing"), str(ROOT / "src")])
    words = [source, tmp_path / "set", *COMMAND, "--photos.detector", "crashing"]
    run = program(*words, environment={"PYTHONPATH": path})
    output, errors = run.communicate(timeout=500)
    assert run.returncode == 0, errors
    assert "7 photos of 2 persons" in output
    rejects = read_columns(tmp_path / "set" / "rejects.parquet", ("source_key", "reason")).to_pylist()
    assert {"source_key": "dee/deadly.png", "reason": "crashed"} in rejects and len(rejects) == 3
    assert not list((tmp_path / "set" / ".work").rglob("*.begun"))


def test_a_node_that_dies_changes_nothing(whole, tmp_path):
    pytest.importorskip("ray")
    places, _ = whole
    run = subprocess.run(
        [sys.executable, "-m", "tests.curate.two_nodes", str(places.source), str(tmp_path / "set")],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1"},
        timeout=500,
    )
    assert run.returncode == 0 and "killed a node" in run.stdout, run.stderr
    expected = {
        name: value for name, value in contents(places.destination).items() if not name.startswith("report")
    }
    assert contents(tmp_path / "set") == expected


@contextmanager
def full_disk():
    """As a full disk, a limit lets writing fail; Python ignores the signal."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_stops_with_one_line(whole, tmp_path, capsys):
    places, _ = whole
    words = [places.source, tmp_path / "set", *COMMAND, "--run.engine", "serial"]
    with full_disk():
        code = cli.main(["curate", *map(str, words)])
    errors = capsys.readouterr().err
    assert code == 3 and errors.count("\n") == 1
    assert "cannot be written (File too large)" in errors
    assert not list((tmp_path / "set").rglob("*.parquet")) and not list((tmp_path / "set").rglob("*.tmp"))


def test_the_command_lists_its_options_and_loads_nothing_heavy():
    heavy = "{'torch', 'ray', 'pyarrow', 'cv2', 'numpy', 'matplotlib'}"
    code = (
        "import sys\nfrom diffpc import cli\ntry:\n    cli.main(['curate', '--help'])\nexcept SystemExit:\n    pass\n"
        f"print('loaded', sorted({heavy} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.endswith("loaded []\n")
    for word in ("SOURCE DESTINATION", "--photos.quality", "--persons.minimum", "--run.address"):
        assert word in answer.stdout
