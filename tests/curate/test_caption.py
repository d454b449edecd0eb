import base64
import http.server
import json
import threading

import pytest

from diffpc.curate.caption import CaptionPart, Seen, load_captioner
from diffpc.curate.caption_endpoint import KEY, EndpointCaptioner
from diffpc.curate.parts import Told, read_columns, write_part
from diffpc.curate.rows import PART_FIELDS
from diffpc.curate.settings import CaptionSettings
from diffpc.errors import InputError, UsageError
from tests.train.people import encoded, portrait

ANSWER = {"usage": {"prompt_tokens": 10, "completion_tokens": 4}}


@pytest.fixture
def photos(astronaut):
    return [
        Seen(f"photo {n}", encoded(portrait(astronaut, n)), {"gender": "woman"}, {"smile": 0.9})
        for n in range(3)
    ]


@pytest.fixture
def endpoint():
    """A server that speaks like a chat model; its `replies` are (status, body) for the next requests."""
    asked, replies = [], []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            asked.append((self.path, self.headers.get("Authorization"), body))
            said = [{"message": {"content": f"  a woman,\n smiling {n} "}} for n in range(body["n"])]
            status, content = replies.pop(0) if replies else (200, {"choices": said, **ANSWER})
            raw = content if isinstance(content, bytes) else json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    server.asked, server.replies = asked, replies
    server.settings = CaptionSettings(
        "endpoint", "eyes-7b", f"http://127.0.0.1:{server.server_port}/v1", concurrency=1
    )
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def captioner(endpoint, folder):
    return EndpointCaptioner(endpoint.settings, folder, back_off=0.0)


def test_the_endpoint_gets_the_photo_and_the_papers_question(endpoint, tmp_path, photos, monkeypatch):
    monkeypatch.setenv(KEY, "secret")
    (said,) = captioner(endpoint, tmp_path)(photos[:1])
    assert said.captions == ("a woman, smiling 0",) and not said.fault
    assert said.costs == {"requests": 1, "prompt_tokens": 10, "completion_tokens": 4}
    ((path, key, body),) = endpoint.asked
    assert (path, key, body["model"]) == ("/v1/chat/completions", "Bearer secret", "eyes-7b")
    text, picture = body["messages"][0]["content"]
    assert "appearance, hairstyle, clothing, accessories, and image background" in text["text"]
    head, _, data = picture["image_url"]["url"].partition(",")
    assert head == "data:image/jpeg;base64" and base64.b64decode(data) == photos[0].picture


def test_answers_are_kept_by_content(endpoint, tmp_path, photos):
    first = captioner(endpoint, tmp_path)(photos)
    again = captioner(endpoint, tmp_path)([Seen("another name", photos[1].picture)])
    assert again[0].captions == first[1].captions and again[0].costs == {"kept_answers": 1}
    assert len(endpoint.asked) == 3


def test_a_busy_endpoint_is_asked_again(endpoint, tmp_path, photos):
    endpoint.replies += [(429, {}), (503, {})]
    (said,) = captioner(endpoint, tmp_path)(photos[:1])
    assert said.captions and len(endpoint.asked) == 3


@pytest.mark.parametrize(
    ("reply", "fault"),
    [
        ((400, {"error": "no such model"}), "status 400"),
        ((200, b"<html>"), "no answer of a chat model"),
        ((200, {"choices": [{"message": {"content": None}}]}), "no answer of a chat model"),
        ((200, {"choices": [{"message": {"content": " "}}]}), "an empty answer"),
        ((302, {}), "status 302"),
    ],
)
def test_one_fault_costs_one_caption(endpoint, tmp_path, photos, reply, fault):
    endpoint.replies.append(reply)
    first, second, third = captioner(endpoint, tmp_path)(photos)
    assert fault in first.fault and first.captions == ()
    assert second.captions and third.captions
    # It is asked for again next time, since nothing of it was kept.
    assert captioner(endpoint, tmp_path)(photos[:1])[0].captions


def test_an_endpoint_that_always_fails_stops_the_work(endpoint, tmp_path, photos):
    endpoint.replies += [(401, {})] * 3
    with pytest.raises(InputError, match=r"describes no photo \(status 401.*run again to go on"):
        captioner(endpoint, tmp_path)(photos)


def test_what_a_captioner_needs(tmp_path):
    for name, settings in (
        ("captions.url", CaptionSettings("endpoint", "m")),
        ("captions.model NAME", CaptionSettings("transformers")),
        ("choose one of: attributes, endpoint, none, transformers", CaptionSettings("poet")),
    ):
        with pytest.raises(UsageError, match=name):
            load_captioner(settings, tmp_path)
    with pytest.raises(InputError, match="nowhere: cannot be loaded as an image-text model"):
        load_captioner(CaptionSettings("transformers", str(tmp_path / "nowhere")), tmp_path)


def test_the_default_says_what_is_known(tmp_path, photos):
    settings = CaptionSettings(count=20, plain=10)
    said = load_captioner(settings, tmp_path)(photos)
    assert said == load_captioner(settings, tmp_path)(photos)
    assert any("woman" in text for text in said[0].captions[:10])
    assert not any("woman" in text for text in said[0].captions[10:])
    assert any("smil" in text for text in said[0].captions)
    assert [one.captions for one in load_captioner(CaptionSettings("none"), tmp_path)(photos)] == [()] * 3


def test_a_local_model(tmp_path, photos):
    from transformers import (
        BertTokenizer,
        BlipConfig,
        BlipForConditionalGeneration,
        BlipImageProcessor,
        BlipProcessor,
    )

    (tmp_path / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[DEC]", "a", "woman", "smiles"])
    )
    tokenizer = BertTokenizer(str(tmp_path / "vocab.txt"))
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    marks = {"bos_token_id": 4, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = {**sizes, **marks, "vocab_size": 8, "encoder_hidden_size": 16, "projection_dim": 16}
    vision = {**sizes, "image_size": 32, "patch_size": 16, "projection_dim": 16}
    model = BlipForConditionalGeneration(
        BlipConfig(text_config=text, vision_config=vision, projection_dim=16)
    )
    model.save_pretrained(tmp_path / "model")
    BlipProcessor(BlipImageProcessor(size={"height": 32, "width": 32}), tokenizer).save_pretrained(
        tmp_path / "model"
    )
    describe = load_captioner(CaptionSettings("transformers", str(tmp_path / "model")), tmp_path)
    first, second = describe(photos[:1]), describe(photos)
    assert first[0] == second[0]
    assert set(" ".join(one.captions[0] for one in second).split()) <= {
        "[DEC]",
        "a",
        "woman",
        "smiles",
        "[UNK]",
    }


def test_a_part_of_captions(tmp_path, photos):
    rows = [
        {"source_key": photo.key, "picture": photo.picture, "attributes": [("gender", "man")], "measures": []}
        for photo in photos
    ]
    write_part(tmp_path / "photos.parquet", PART_FIELDS, rows, Told(3, 3, {}, {}, {}))
    part = CaptionPart(
        tmp_path / "c.parquet", tmp_path / "photos.parquet", (0, 2), CaptionSettings(), tmp_path
    )
    told = part.make()
    assert part.done() == told and (told.photos, told.kept) == (2, 2)
    table = read_columns(part.file, ("source_key", "captions", "fault")).to_pylist()
    assert [row["source_key"] for row in table] == ["photo 0", "photo 2"]
    assert all(len(row["captions"]) == 1 and row["fault"] is None for row in table)
