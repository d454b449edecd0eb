"""Whose photo it is: how like each photo of a person is to the middle of that person's photos."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.cluster.vq import kmeans2

THRESHOLDS: Mapping[str, float] = {"arcface": 0.7, "dlib": 0.42}
"""Embedder -> least similarity: the paper's for ArcFace, where it is a cosine; calibrated for dlib's, where it is
1 - the L2 distance."""

COPY_SIMILARITY: Mapping[str, float] = {"cosine": 0.9, "l2": 0.7}
"""Kind of metric -> least similarity of two copies of one photo."""

PER_CLUSTER = 4
"""Photos for which there is one more cluster."""

CLUSTERS = 3
"""Most clusters: the person, a namesake or relative, and the rest."""


def similarity(
    one: Float[np.ndarray, "*N D"], other: Float[np.ndarray, "*N D"], kind: str
) -> Float[np.ndarray, "*N"]:
    """Large for the same person: the cosine, or 1 - the L2 distance of raw vectors."""
    if kind == "cosine":
        lengths = np.linalg.norm(one, axis=-1) * np.linalg.norm(other, axis=-1)
        return (one * other).sum(-1) / np.maximum(lengths, 1e-12)
    return 1 - np.linalg.norm(one - other, axis=-1)


def similarities(
    embeddings: Float[np.ndarray, "N D"], kind: str, seed: int, person: str
) -> Float[np.ndarray, " N"]:
    """How like each photo is to the centre of the largest cluster of a person's photos.

    Of a photo in that cluster, the centre is that of the others: in a small cluster each photo would pull the
    centre to itself, and two photos of two persons would both lie near their middle. A lone photo is like itself.

    Args:
        embeddings: raw vectors of all photos of the person, float64.
        kind: of the embedder's metric.
        seed: of the clustering, together with the person's name.
        person: whose photos.
    """
    vectors = embeddings.astype(np.float64)
    if kind == "cosine":
        vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    members = largest_cluster(vectors, np.random.default_rng([seed, zlib.crc32(person.encode())]))
    total, count = vectors[members].sum(axis=0), int(members.sum())
    if count == 1:
        return similarity(vectors, np.broadcast_to(total, vectors.shape), kind)
    centres = np.where(members[:, None], (total - vectors) / (count - 1), total / count)
    return similarity(vectors, centres, kind)


def largest_cluster(vectors: Float[np.ndarray, "N D"], draw: np.random.Generator) -> np.ndarray:
    """Which rows are in the largest cluster of k-means (k-means++, k grows with the photos up to CLUSTERS)."""
    clusters = min(CLUSTERS, max(1, len(vectors) // PER_CLUSTER))
    if clusters == 1:
        return np.ones(len(vectors), bool)
    _, labels = kmeans2(vectors, clusters, iter=30, minit="++", rng=draw)
    return labels == np.bincount(labels, minlength=clusters).argmax()
