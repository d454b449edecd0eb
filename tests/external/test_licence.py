from dataclasses import replace

import pytest

from diffpc.errors import UsageError
from diffpc.external.licence import BACKENDS, licence_report
from diffpc.external.table import ASSETS
from diffpc.face3d.model import FACE_MODELS
from diffpc.face3d.predict import PREDICTORS
from diffpc.faces.detect import DETECTORS
from diffpc.faces.embed import EMBEDDERS
from diffpc.faces.matte import MATTERS
from diffpc.identity.local import LOCAL_FEATURES
from diffpc.presets import sdxl, tiny


def test_every_back_end_has_terms():
    tables = {
        "detector": DETECTORS,
        "embedder": EMBEDDERS,
        "local_features": LOCAL_FEATURES,
        "predictor": PREDICTORS,
        "face_model": FACE_MODELS,
        "matter": MATTERS,
    }
    assert {field: set(known) for field, known in BACKENDS.items()} == {
        field: set(table) for field, table in tables.items()
    }


def test_the_bundled_model_is_for_research():
    report = licence_report("tiny", tiny().faces)
    assert report.commercial == "no"
    assert report.sentence == (
        "may be used commercially: no, because of base, VAE, adapter, predictor, face model: trained on Labeled Faces "
        "in the Wild, photos for research use"
    )
    assert [part.role for part in report.parts] == [
        "code",
        "base",
        "VAE",
        "adapter",
        "detector",
        "embedder",
        "local features",
        "predictor",
        "face model",
        "matte",
    ]


def test_sdxl_hangs_on_its_face_networks():
    report = licence_report("sdxl", sdxl().faces)
    assert report.commercial == "no"
    assert report.sentence.endswith("because of detector, embedder: non-commercial research only")
    free = replace(sdxl().faces, detector="dlib", embedder="dlib")
    open_question = licence_report("sdxl", free)
    assert open_question.commercial == "unclear"
    assert (
        "adapter: none is published" in open_question.sentence
        and "predictor: ask its authors" in open_question.sentence
    )


def test_what_is_added_counts():
    faces = replace(sdxl().faces, detector="dlib", embedder="dlib")
    report = licence_report("sdxl", faces, [ASSETS["faceid_plus_v2"]])
    assert report.parts[-1].name == "faceid_plus_v2"
    assert report.sentence == "may be used commercially: no, because of with: its page says so"


def test_unknown_choices_list_the_known_ones():
    with pytest.raises(UsageError, match="unknown model 'large'; choose one of: tiny, sdxl"):
        licence_report("large", tiny().faces)
    with pytest.raises(UsageError, match="unknown detector 'x'; choose one of: dlib, insightface"):
        licence_report("tiny", replace(tiny().faces, detector="x"))
