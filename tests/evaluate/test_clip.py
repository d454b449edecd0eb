"""CLIP's layout with small random weights: against the library's own features, and refusals."""

import numpy as np
import pytest
import torch
from transformers import CLIPConfig, CLIPModel

from diffpc.errors import InputError
from diffpc.evaluate.clip import load_clip
from diffpc.weights import sha256
from tests.pipelines import byte_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    text = {
        **sizes,
        "vocab_size": 600,
        "max_position_embeddings": 16,
        "eos_token_id": 599,
        "bos_token_id": 598,
    }
    config = CLIPConfig(
        text_config=text, vision_config={**sizes, "patch_size": 16, "image_size": 64}, projection_dim=24
    )
    place = tmp_path_factory.mktemp("clip")
    CLIPModel(config).save_pretrained(place)
    byte_tokenizer(600, 16).save_pretrained(place)
    return place


def test_vectors_are_the_librarys_and_of_length_one(folder, astronaut):
    witness = load_clip(folder, sha256(folder / "model.safetensors"))
    vector = witness(astronaut)
    assert vector.shape == (24,) and np.linalg.norm(vector) == pytest.approx(1, abs=1e-5)
    assert np.array_equal(vector, witness(astronaut))
    texts = witness.texts(["a hat", "a hat", "a person " * 50])
    assert np.allclose(texts[0], texts[1]) and not np.allclose(texts[0], texts[2])
    tokens = witness.tokenizer(["a hat"], padding="max_length", max_length=16, return_tensors="pt")
    with torch.no_grad():
        logits = witness.model(**tokens, pixel_values=torch.zeros(1, 3, 64, 64)).text_embeds[0].numpy()
    assert np.allclose(texts[0], logits / np.linalg.norm(logits), atol=1e-5)


def test_the_wrong_file_is_refused(folder, tmp_path):
    with pytest.raises(InputError, match="has the sha256"):
        load_clip(folder, "0" * 64)
    with pytest.raises(InputError, match=r"holds no model\.safetensors"):
        load_clip(tmp_path)
