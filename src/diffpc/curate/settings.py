"""Everything that shapes a data set. The defaults are the paper's where it gives a number."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class PhotoSettings:
    """What is done with each photo alone, and what is wanted of it."""

    size: int = 1024
    """Side of the pictures in pixels."""
    side: int = 256
    """Least side of the square cut from the photo, pixels of the photo."""
    face_share: float = 0.02
    """Least share of the square that the face's box takes."""
    closest: float = 1.5
    """Least side of the square, in sides of the face's box; how much more is drawn at random."""
    border: float = 1.0
    """Greatest share of black pixels along the square's border; 1 lets letterboxes pass."""
    quality: float = 0.5
    """Least face quality in [0, 1]."""
    quality_measure: str = "light"
    """Who judges it: light (own), or fqa (the paper's network, with quality_weights)."""
    quality_weights: str = ""
    """The ONNX file of fqa."""
    text: str = "rapidocr"
    """Who looks for text on the face; none leaves the stage out."""
    detector: str = "dlib"
    """Face detector."""
    embedder: str = "dlib"
    """Face embedder."""
    predictor: str = "light"
    """3D face predictor."""
    face_model: str = "light"
    """The 3D face that the predictor speaks."""
    jpeg: int = 95
    """JPEG quality of the pictures, 1 to 95."""
    seed: int = 0
    """Of the squares."""
    part: int = 64
    """Photos per part: what a kill can cost a worker."""


@dataclass(frozen=True)
class PersonSettings:
    """What is asked of all photos of a person together."""

    similarity: float | None = None
    """Least similarity to the person's centre; None takes the embedder's (identity.THRESHOLDS)."""
    minimum: int = 5
    """Persons with fewer photos left are dropped."""
    copies: int = 6
    """Photos whose perceptual hashes differ in so many of 64 bits or fewer are copies; -1 keeps all but exact ones."""
    most: int = 0
    """Photos kept of one person, the best by quality; 0 keeps all."""
    only: str = ""
    """A file that names the persons wanted, one a line (the name ends at a tab); empty wants all."""
    seed: int = 0
    """Of the clustering."""


@dataclass(frozen=True)
class CaptionSettings:
    """Who describes the photos, and how."""

    captioner: str = "attributes"
    """attributes (a sentence from what is known), endpoint (a vision model behind an OpenAI-compatible address),
    transformers (a local image-text model) or none."""
    model: str = ""
    """Name of the endpoint's or transformers' model."""
    url: str = ""
    """Of the endpoint, up to and including /v1. Its key is read from $DIFFPC_CAPTION_KEY."""
    count: int = 1
    """Captions per photo."""
    plain: int = 0
    """How many of them say nothing of who is seen: only expression, pose and background."""
    instruction: str = (
        "Please provide a detailed description of this portrait, focusing on the subject's appearance, hairstyle, "
        "clothing, accessories, and image background."
    )
    """The paper's, without the name of its model."""
    concurrency: int = 4
    """Requests to the endpoint at a time."""
    seed: int = 0
    """Of the wording."""


@dataclass(frozen=True)
class DownloadSettings:
    """Manners and limits of the downloader."""

    per_host: int = 2
    """Requests to one host at a time."""
    connections: int = 32
    """Requests at a time in all."""
    delay: float = 0.5
    """Seconds between the starts of two requests to one host."""
    timeout: float = 15.0
    """Seconds without a byte after which a server is given up."""
    deadline: float = 60.0
    """Seconds for one answer, however slowly it comes."""
    megabytes: float = 32.0
    """Largest photo."""
    redirects: int = 5
    """Redirects followed."""
    private: bool = False
    """Whether private and loopback addresses may be reached. For tests only."""
    agent: str = "diffpc"
    """Name in the User-Agent, by which robots.txt may address the downloader."""


@dataclass(frozen=True)
class ShardSettings:
    """How the set is written."""

    photos: int = 10_000
    """Per shard."""


@dataclass(frozen=True)
class EngineSettings:
    """How the work is done; none of it changes the result."""

    engine: str = "ray"
    """ray (Ray Data, embedded or on a cluster), or serial (this process alone)."""
    workers: int = 0
    """Parts made at a time; 0 takes one per processor core."""
    address: str = ""
    """Of a running Ray cluster, such as auto or HOST:6379; empty starts Ray inside the command. All machines must
    see source and destination under the same path."""


@dataclass(frozen=True)
class CurateSettings:
    """A whole curation."""

    photos: PhotoSettings = field(default_factory=PhotoSettings)
    persons: PersonSettings = field(default_factory=PersonSettings)
    captions: CaptionSettings = field(default_factory=CaptionSettings)
    download: DownloadSettings = field(default_factory=DownloadSettings)
    shards: ShardSettings = field(default_factory=ShardSettings)
