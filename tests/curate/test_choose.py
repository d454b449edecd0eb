from dataclasses import replace

import numpy as np
import pytest

from diffpc.curate.choose import Candidates, choose, threshold_for
from diffpc.curate.settings import PersonSettings
from diffpc.errors import InputError, UsageError

PERSONS = ["ada"] * 5 + ["bob"] * 3 + ["cy"] * 2


@pytest.fixture
def candidates(random):
    """Ten photos of three persons, all different, all well seen."""
    count = len(PERSONS)
    centres = {"ada": 0.0, "bob": 3.0, "cy": 6.0}
    embeddings = np.array([[centres[name] + 0.01 * row, 0.0] for row, name in enumerate(PERSONS)], np.float32)
    return Candidates(
        keys=[f"{name}/{row}" for row, name in enumerate(PERSONS)],
        persons=PERSONS,
        urls=[""] * count,
        digests=[f"digest {row}" for row in range(count)],
        quality=np.linspace(0.9, 0.5, count),
        fingerprints=random.integers(0, 2**63, count, dtype=np.uint64),
        embeddings=embeddings,
        places=[(0, row) for row in range(count)],
    )


def made(candidates, **settings):
    choice = choose(candidates, "l2", 0.5, PersonSettings(**{"minimum": 2, **settings}))
    return list(choice.rows), {one.row: one.reason for one in choice.left_out}


def test_all_that_belong_stay(candidates):
    assert made(candidates) == (list(range(10)), {})


def test_persons_with_few_photos_go(candidates):
    assert made(candidates, minimum=3) == (list(range(8)), {8: "few_photos", 9: "few_photos"})


def test_a_stranger_goes_and_counts_no_more(candidates):
    candidates.embeddings[6] = [0.0, 9.0]
    rows, reasons = made(candidates, minimum=3, similarity=0.5)
    # Of bob's three, the stranger moves the others' middle so far that none is sure: persons of three are fragile.
    assert reasons[6] == "other_person" and 6 not in rows
    candidates.embeddings[2] = [0.0, 0.9]
    assert made(candidates)[1][2] == "other_person"


def test_copies_of_one_person_leave_the_best(candidates):
    digests = list(candidates.digests)
    digests[3] = digests[1]
    candidates.fingerprints[4] = candidates.fingerprints[0] ^ np.uint64(0b10110)
    rows, reasons = made(replace(candidates, digests=digests))
    assert reasons == {3: "copy", 4: "near_copy"}
    assert rows == [0, 1, 2, 5, 6, 7, 8, 9]
    assert made(replace(candidates, digests=digests), copies=2)[1] == {3: "copy"}
    assert made(replace(candidates, digests=digests), copies=-1)[1] == {3: "copy"}
    # Three copies make no person.
    assert made(replace(candidates, digests=[*digests[:5], "x", "x", "x", *digests[8:]]))[1] == {
        3: "copy", 4: "near_copy", 5: "few_photos", 6: "copy", 7: "copy",
    }  # fmt: skip


def test_alike_photos_of_unlike_faces_are_no_copies(candidates):
    candidates.fingerprints[9] = candidates.fingerprints[0]
    assert made(candidates)[1] == {}


def test_a_copy_under_two_names_stays_with_the_more_alike(candidates):
    # Ada and bob look much alike here; row 4 of ada's is the same file as row 5 of bob's, and nearer to bob's middle.
    embeddings = np.array(
        [[0.0], [0.0], [0.0], [0.0], [0.3], [0.3], [0.32], [0.28], [6.0], [6.0]], np.float32
    )
    digests = [*candidates.digests[:4], "same", "same", *candidates.digests[6:]]
    rows, reasons = made(replace(candidates, embeddings=embeddings, digests=digests))
    assert reasons == {4: "copy"} and 5 in rows


def test_the_cap_keeps_the_best(candidates):
    assert made(candidates, most=2) == ([0, 1, 5, 6, 8, 9], {row: "over_the_cap" for row in (2, 3, 4, 7)})


def test_only_the_persons_wanted(candidates, tmp_path):
    names = tmp_path / "people.txt"
    names.write_text("2\nbob\t3\ncy\n")
    assert made(candidates, only=str(names)) == (list(range(5, 10)), {row: "not_wanted" for row in range(5)})
    with pytest.raises(InputError, match="give a text file with a person a line"):
        made(candidates, only=str(tmp_path / "nobody.txt"))


def test_thresholds():
    assert threshold_for("arcface", PersonSettings()) == 0.7
    assert threshold_for("mine", PersonSettings(similarity=0.1)) == 0.1
    with pytest.raises(UsageError, match="no threshold is known of the embedder 'mine'"):
        threshold_for("mine", PersonSettings())
