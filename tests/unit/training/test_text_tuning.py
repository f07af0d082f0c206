"""The lexicon leaves out what stamps show, and low-rank tuning of a small random encoder is what is laid."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import BertConfig, BertModel

from export.encoders import TextEncoder
from export.errors import WeightsError
from export.lowrank import lay_low_rank
from queries.wordnet import WordNet
from training.checkpoints import save_tensors
from training.lexicon import Entry, held_synsets, load_lexicon
from training.text_tuning import TextTuning, add_low_rank, low_rank_state, pool, tune_text

# (lexicographer file, lemmas, hypernym's place in this list, gloss)
SENSES = [
    (5, ["bird"], None, "warm-blooded egg-laying vertebrates"),
    (5, ["heron"], 0, "grey or white wader with long neck"),
    (5, ["egret", "white_wader"], 1, "snowy one with plumes"),
    (5, ["elk", "wapiti"], None, "large North American deer"),
    (5, ["moose", "elk"], None, "large northern deer with flat antlers"),
    (6, ["crane"], 7, "lifts heavy loads"),
    (5, ["crane"], 0, "large wading one"),
    (6, ["lifting_device", "hoister"], None, "a device for lifting"),
    (4, ["marathon", "long_race"], None, "a footrace"),
    (6, ["merry-go-round", "carousel"], None, "large rotating machine with seats for children"),
    (6, ["whirligig", "carousel", "turner"], None, "spins"),
    (5, ["goose"], 0, "web-footed swimmer"),
    (5, ["gander", "male_goose"], 11, "mature one"),
]


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    folder = tmp_path_factory.mktemp("wordnet")
    offsets = [0] * len(SENSES)
    for _ in range(2):  # once to learn the offsets, once to write them
        lines = []
        for own, (file, lemmas, above, gloss) in zip(offsets, SENSES, strict=True):
            pointer = "000" if above is None else f"001 @ {offsets[above]:08d} n 0000"
            words = " ".join(f"{lemma} 0" for lemma in lemmas)
            lines.append(f"{own:08d} {file:02d} n {len(lemmas):02x} {words} {pointer} | {gloss}  \n")
        offsets = [100 + sum(map(len, lines[:place])) for place in range(len(lines))]
    (folder / "data.noun").write_text(" " * 99 + "\n" + "".join(lines))
    index: dict[str, list[int]] = {}
    for offset, (_, lemmas, _, _) in zip(offsets, SENSES, strict=True):
        for lemma in lemmas:
            index.setdefault(lemma.lower(), []).append(offset)
    (folder / "index.noun").write_text(
        "".join(
            f"{lemma} n {len(found)} 0 {len(found)} 0 {' '.join(f'{each:08d}' for each in found)}  \n"
            for lemma, found in sorted(index.items())
        )
    )
    (folder / "noun.exc").write_text("geese goose\n")
    return WordNet(folder)


# the third is about geese in an irregular plural, the fourth writes a collocation apart
DESCRIPTIONS = ("A crane at work.", "A wapiti.", "Two geese", "The merry go round in town!")


def pairs(entry: Entry) -> list[tuple[str, str]]:
    return [*entry.synonyms, *entry.told]


def test_no_sense_of_any_word_of_any_description_is_in_a_pair(wordnet: WordNet) -> None:
    held = held_synsets(DESCRIPTIONS, wordnet)
    assert {held[offset].lemmas for offset in held} == {
        ("crane",),
        ("elk", "wapiti"),
        ("goose",),
        ("merry-go-round", "carousel"),
    }
    assert len(held) == 5, "both cranes"
    entries = load_lexicon(DESCRIPTIONS, wordnet)
    assert not {entry.offset for entry in entries} & set(held)
    said = [text for entry in entries for pair in pairs(entry) for text in pair]
    for sense in held.values():
        assert not any(sense.definition in text for text in said)
        for lemma in sense.lemmas:
            assert lemma not in [name for entry in entries for name, _ in pairs(entry)]
            assert lemma not in [other for entry in entries for _, other in entry.synonyms]


def test_held_names_go_and_held_kinds_stay_what_others_are(wordnet: WordNet) -> None:
    found = {name: entry for entry in load_lexicon(DESCRIPTIONS, wordnet) for name, _ in pairs(entry)}
    # "elk" also names a moose and "carousel" a whirligig: those names are gone, the things are not
    assert found["turner"].synonyms == (("whirligig", "turner"), ("turner", "whirligig"))
    assert ("gander", "goose: mature one") in found["gander"].told
    told = {name for name, _ in found["gander"].told}
    assert "male goose" not in told, "its kind repeats it"
    assert "marathon" not in found, "an act is none of the catalogue's kinds"
    everything = {name for entry in load_lexicon((), wordnet) for name, _ in pairs(entry)}
    assert {"elk", "carousel", "crane"} <= everything, "the exclusion is what left them out"


def test_what_may_mean_the_same_is_no_negative(wordnet: WordNet) -> None:
    found = {name: entry for entry in load_lexicon((), wordnet) for name, _ in pairs(entry)}
    assert found["egret"].may_be(found["heron"])
    assert found["heron"].may_be(found["egret"])
    assert found["wapiti"].may_be(next(e for e in found.values() if "moose" in e.names))
    assert not found["heron"].may_be(found["goose"])


WORDS = ["a", "an", "A", "An", ".", ":", *(f"w{number}" for number in range(60))]
LEXICON = [
    Entry(number, ((f"w{number}", f"w{number + 30}"),), (), frozenset({f"w{number}"}), frozenset())
    for number in range(24)
]
TUNING = TextTuning(
    epochs=3, entries=24, batch=8, clusters=2, kept=2, rank=2, layers=(1,), rate=5e-2, warm_up=1, keep=0.1
)


def encoder() -> TextEncoder:
    torch.manual_seed(3)
    config = BertConfig(
        vocab_size=100, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64
    )
    config._attn_implementation = "eager"
    return TextEncoder(BertModel(config, add_pooling_layer=False)).eval()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    made = Tokenizer(WordLevel({word: number for number, word in enumerate(["?", *WORDS])}, unk_token="?"))
    made.pre_tokenizer = Whitespace()
    made.enable_padding()
    return made


def tuned(tokenizer: Tokenizer, seed: int = 0) -> tuple[TextEncoder, list[float | None]]:
    made, tuning = encoder(), TextTuning(**{**vars(TUNING), "seed": seed})
    add_low_rank(made, tuning)
    curve = tune_text(made, tokenizer, LEXICON, ["w50 w51", "w52"], lambda: 0.0, tuning, lambda *_: None)
    assert [step for step, _, _ in curve] == [0, 3, 6, 9]
    return made, [loss for _, loss, _ in curve]


def test_the_loss_falls_and_the_same_seed_gives_the_same_matrices(tokenizer: Tokenizer) -> None:
    (first, losses), (second, _), (other, _) = (tuned(tokenizer, seed) for seed in (0, 0, 1))
    assert losses[1] is not None
    assert losses[3] is not None
    assert losses[3] < losses[1]
    states = [low_rank_state(each, 1.0, TUNING) for each in (first, second, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert any(not torch.equal(states[0][name], states[2][name]) for name in states[0])
    assert len(states[0]) == 12, "two matrices for each of the six maps of one layer"


def test_matrices_laid_over_the_published_weights_are_the_tuned_encoder(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    texts = ["A w1 .", "w2 : w3 w4", "w50 w51"]
    made, _ = tuned(tokenizer)
    path = tmp_path / "text_encoder.safetensors"
    save_tensors(low_rank_state(made, 1.0, TUNING), path, {})
    laid, published = encoder(), encoder()
    lay_low_rank(laid.bert, path)
    assert (pool(published, tokenizer, texts) - pool(made, tokenizer, texts)).abs().max() > 0.01
    # FP16 on disk
    torch.testing.assert_close(
        pool(laid, tokenizer, texts), pool(made, tokenizer, texts), atol=2e-3, rtol=0.0
    )
    save_tensors(low_rank_state(made, 0.0, TUNING), path, {})
    laid = encoder()
    lay_low_rank(laid.bert, path)
    torch.testing.assert_close(pool(laid, tokenizer, texts), pool(published, tokenizer, texts))


def test_what_does_not_fit_is_refused(tokenizer: Tokenizer, tmp_path: Path) -> None:
    made = encoder()
    add_low_rank(made, TUNING)
    state = low_rank_state(made, 1.0, TUNING)
    layer = "encoder.layer.1.output.dense"
    up, down = f"{layer}.lora_B.weight", f"{layer}.lora_A.weight"
    path = tmp_path / "text_encoder.safetensors"
    wrong = {
        "half a pair": {name: value for name, value in state.items() if name != up},
        "unknown layer": {name.replace("layer.1", "layer.7"): value for name, value in state.items()},
        "other rank": {**state, up: torch.zeros(32, 3)},
        "other width": {**state, down: torch.zeros(2, 65)},
        "a bias": {"encoder.layer.1.output.dense.bias": torch.zeros(32)},
        "nothing": {},
    }
    for what, content in wrong.items():
        save_tensors(content, path, json.dumps(what))
        with pytest.raises(WeightsError):
            lay_low_rank(encoder().bert, path)
    path.write_bytes(b"damaged")
    with pytest.raises(WeightsError):
        lay_low_rank(encoder().bert, path)
    with pytest.raises(WeightsError):
        lay_low_rank(encoder().bert, tmp_path / "missing.safetensors")
