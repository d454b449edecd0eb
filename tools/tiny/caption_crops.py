"""Write captions for the prepared crops and learn the small vocabulary from them.

python tools/tiny/caption_crops.py --lfw DATA/lfw --data runs/tiny/data --tokenizer FOLDER
"""

import argparse
import csv
import json
import random
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import CLIPTokenizer

from diffpc.curate.grammar import sentences
from diffpc.curate.traits import traits_of

PER_CROP = 8
PLAIN = 4
"""Of them, captions that leave the looks to the reference photo."""
VOCABULARY = 1024
LENGTH = 32
CLIP_PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
WORDS = (
    "outdoors indoors in a park on the beach at night city street studio light sunset snow rain forest office garden "
    "shirt jacket dress sweater coat scarf uniform red blue green yellow black white orange purple pink brown grey "
    "painting drawing oil watercolor cinematic face hair beard person people boy girl child eyes mouth open closed "
    "looking left right up down happy sad angry surprised wearing holding standing sitting the and of with a an is at"
)


def learn_vocabulary(texts: list[str], folder: Path) -> None:
    """A byte-pair vocabulary in CLIP's file format (vocab.json, merges.txt, end-of-word marks)."""
    tokenizer = Tokenizer(models.BPE(end_of_word_suffix="</w>", continuing_subword_prefix=""))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pattern=Regex(CLIP_PATTERN), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 2 - len(alphabet),
        initial_alphabet=alphabet,
        end_of_word_suffix="</w>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    _save_clip_files(json.loads(tokenizer.to_str())["model"], alphabet, folder)


def _save_clip_files(model: dict, alphabet: list[str], folder: Path) -> None:
    """CLIP's order: single bytes, bytes that end a word, merges, then the two marks."""
    merges = [
        tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]
    ]
    pieces = alphabet + [f"{byte}</w>" for byte in alphabet]
    pieces += [piece for piece in ("".join(merge) for merge in merges) if piece not in set(pieces)]
    pieces = pieces[: VOCABULARY - 2]
    known = set(pieces)
    merges = [merge for merge in merges if "".join(merge) in known]
    pieces += [f"<|unused{number}|>" for number in range(VOCABULARY - 2 - len(pieces))]
    pieces += ["<|startoftext|>", "<|endoftext|>"]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {piece: number for number, piece in enumerate(pieces)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False))
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "\n".join(" ".join(merge) for merge in merges) + "\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lfw", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--tokenizer", type=Path, required=True)
    arguments = parser.parse_args()
    with (arguments.lfw / "attributes.csv").open() as stream:
        attributes = {row["image"]: row for row in csv.DictReader(stream)}
    crops = np.load(arguments.data / "crops.npy", mmap_mode="r")
    rows = json.loads((arguments.data / "crops.json").read_text())["rows"]
    draw = random.Random(0)
    texts = []
    for row, crop in zip(rows, crops, strict=True):
        found = attributes.get(Path(row["image"]).name)
        traits = traits_of(found or {}, {}, np.array(crop))
        texts.append(sentences(traits, PER_CROP, PLAIN, draw) if found else [""] * PER_CROP)
    flat = [text for group in texts for text in group]
    if not arguments.tokenizer.exists():  # token ids must not change under a base that knows them
        learn_vocabulary(flat + [WORDS] * 50, arguments.tokenizer)
    tokenizer = CLIPTokenizer(
        vocab=str(arguments.tokenizer / "vocab.json"),
        merges=str(arguments.tokenizer / "merges.txt"),
        model_max_length=LENGTH,
    )
    tokenizer.save_pretrained(arguments.tokenizer)
    ids = tokenizer(flat, padding="max_length", truncation=True, max_length=LENGTH).input_ids
    np.save(arguments.data / "captions.npy", np.array(ids, np.int16).reshape(len(rows), PER_CROP, LENGTH))
    (arguments.data / "captions.json").write_text(json.dumps(texts))
    print(f"{len(rows)} x {PER_CROP} captions; for example: {flat[:3]}")
    print(
        tokenizer.tokenize(flat[0]),
        "|",
        tokenizer.tokenize("An astronaut on the moon, café!"),
        tokenizer.decode(ids[0]),
    )


if __name__ == "__main__":
    main()
