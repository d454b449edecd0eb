import numpy as np
import pytest

from diffpc.curate.engine import SerialEngine
from diffpc.curate.parts import Told, read_columns, read_told, write_part
from diffpc.curate.progress import make_all, news
from diffpc.curate.record import REASONS, Listed, Reject, Square
from diffpc.curate.rows import PART_FIELDS, THUMBNAIL, reject_row, to_picture
from diffpc.curate.settings import EngineSettings
from diffpc.errors import InputError
from tests.curate.conftest import opened

TOLD = Told(3, 2, {"no_face": 1}, {"decode": 0.5}, {"decode": 3})


def test_points_move_with_the_square():
    points = np.array([[10.0, 20.0], [29.5, 39.5]])
    # The square of 20 px from (10, 20) becomes 40 px: its first pixel's centre lies at 0.5.
    assert to_picture(points, Square(10, 20, 20), 40) == pytest.approx(np.array([[0.5, 0.5], [39.5, 39.5]]))


def test_a_reject_keeps_a_small_picture(astronaut):
    row = reject_row(Reject(Listed("ada/1", "ada", "f", 1), "no_face", "none", np.array(astronaut)))
    assert (row["stage"], row["reason"], row["person"]) == ("face", "no_face", "ada")
    assert opened(row["thumbnail"]).shape == (THUMBNAIL, THUMBNAIL, 3)
    assert set(REASONS.values()) >= {
        "download",
        "decode",
        "face",
        "crop",
        "quality",
        "text",
        "identity",
        "persons",
    }


def test_a_part_tells_of_itself(tmp_path):
    file = tmp_path / "part.parquet"
    assert read_told(file) is None
    rows = [
        {"source_key": "a", "person": "ada", "measures": [("yaw", 1.0)], "embedding": np.ones(3, np.float32)}
    ]
    write_part(file, PART_FIELDS, rows, TOLD)
    assert read_told(file) == TOLD
    (row,) = read_columns(file, ("source_key", "measures", "embedding", "reason")).to_pylist(
        maps_as_pydicts="strict"
    )
    assert row == {"source_key": "a", "measures": {"yaw": 1.0}, "embedding": [1.0, 1.0, 1.0], "reason": None}
    first = file.read_bytes()
    write_part(file, PART_FIELDS, rows, TOLD)
    assert file.read_bytes() == first


def test_damaged_parts_are_named(tmp_path):
    file = tmp_path / "part.parquet"
    for content in (b"", b"PAR1 and no more"):
        file.write_bytes(content)
        for read in (read_told, lambda file: read_columns(file, ("person",))):
            with pytest.raises(
                InputError, match=r"part\.parquet: is missing or damaged .*remove it and run again"
            ):
                read(file)
    with pytest.raises(InputError, match="is missing or damaged"):
        read_columns(tmp_path / "nowhere", ("person",))


def test_the_news_count_and_foresee():
    line = news("photos", [TOLD], [TOLD, TOLD], seconds=3.0, parts=6)
    assert line == "photos: 3 of 7 parts, 2.0 photos/s, 6 s left; left out: no_face 3"
    assert "left;" not in news("photos", [], [TOLD] * 2, 3.0, 2)
    assert "2.8 h left" in news("photos", [], [TOLD], 100.0, 101)


class Job:
    def __init__(self, file, told=None):
        self.file, self.told, self.made = file, told, 0

    def done(self):
        return self.told

    def make(self):
        self.made += 1
        return TOLD


def test_what_is_done_is_not_made_again(tmp_path):
    jobs = [Job(tmp_path / "0"), Job(tmp_path / "1", TOLD), Job(tmp_path / "2")]
    lines = []
    assert make_all("photos", jobs, SerialEngine(EngineSettings("serial")), lines.append) == [TOLD] * 3
    assert [job.made for job in jobs] == [1, 0, 1]
    assert lines[0] == "photos: 1 of 3 parts were made before" and lines[-1].startswith(
        "photos: 3 of 3 parts"
    )
