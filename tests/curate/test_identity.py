import numpy as np
import pytest

from diffpc.curate.identity import largest_cluster, similarities, similarity


def test_similarity_by_hand():
    one, other = np.array([[3.0, 4.0]]), np.array([[3.0, 0.0]])
    assert similarity(one, other, "cosine") == pytest.approx([0.6])
    assert similarity(one, other, "l2") == pytest.approx([-3.0])


def test_a_photo_does_not_speak_for_itself():
    # Three at 0 and one at 1: each of the three sees the others' middle at 1/3, the stranger sees 0.
    vectors = np.array([[0.0], [0.0], [0.0], [1.0]])
    assert similarities(vectors, "l2", 0, "ada") == pytest.approx([2 / 3, 2 / 3, 2 / 3, 0.0])
    assert similarities(vectors[:1], "l2", 0, "ada") == pytest.approx([1.0])


def test_the_largest_cluster_is_the_person(random):
    person, stranger = random.normal(0, 0.02, (14, 8)), random.normal(0, 0.02, (6, 8)) + 1
    vectors = np.concatenate([stranger, person])
    found = similarities(vectors, "l2", 3, "ada")
    assert (found[6:] > 0.8).all() and (found[:6] < 0).all()
    assert np.array_equal(found, similarities(vectors, "l2", 3, "ada"))
    members = largest_cluster(vectors, np.random.default_rng(0))
    assert not members[:6].any() and members[6:].any()


def test_cosine_ignores_lengths(random):
    vectors = random.normal(0, 1, (6, 5))
    assert similarities(vectors, "cosine", 0, "a") == pytest.approx(
        similarities(vectors * 7, "cosine", 0, "a")
    )
