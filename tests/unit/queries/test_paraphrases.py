"""Paraphrases against a dictionary of a few nouns in WordNet's own file format."""

from __future__ import annotations

import pytest

from catalogue.manifest import ManifestItem
from catalogue.split import normalise
from queries.paraphrases import paraphrases
from queries.wordnet import WordNet

# (lexicographer file, lemmas, hypernym's place in this list, gloss)
SENSES = [
    (5, ["bird"], None, "warm-blooded egg-laying vertebrates"),
    (5, ["corvine_bird"], 0, "birds of the crow family"),
    (5, ["crow"], 1, 'black birds having a raucous call; "they caw"'),
    (5, ["donkey", "domestic_ass", "Equus_asinus"], 0, "domestic beast of burden"),
    (6, ["crane"], 5, "lifts heavy loads"),
    (6, ["lifting_device"], None, "a device for lifting"),
    (5, ["crane"], 0, "large long-necked wading bird"),
    (6, ["hot-air_balloon"], 5, "balloon for travel through the air in a basket suspended below"),
    (6, ["sailboat", "sailing_boat"], 5, "a small sailing vessel"),
    (6, ["spectacles", "specs", "eyeglasses", "glasses"], 5, "optical instrument with frames"),
]


@pytest.fixture(scope="module")
def wordnet(tmp_path_factory: pytest.TempPathFactory) -> WordNet:
    folder = tmp_path_factory.mktemp("wordnet")
    lengths, offsets = [], []
    for width in (0, 1):  # once to learn the offsets, once to write them
        lines = []
        for place, (file, lemmas, above, gloss) in enumerate(SENSES):
            own = offsets[place] if width else 0
            pointer = f"001 @ {(offsets[above] if width else 0):08d} n 0000" if above is not None else "000"
            words = " ".join(f"{lemma} 0" for lemma in lemmas)
            lines.append(f"{own:08d} {file:02d} n {len(lemmas):02x} {words} {pointer} | {gloss}  \n")
        lengths = [len(line) for line in lines]
        offsets = [100 + sum(lengths[:place]) for place in range(len(lengths))]
    (folder / "data.noun").write_text(" " * 99 + "\n" + "".join(lines))
    index: dict[str, list[int]] = {}
    for place, (_, lemmas, _, _) in enumerate(SENSES):
        for lemma in lemmas:
            index.setdefault(lemma.lower(), []).append(offsets[place])
    (folder / "index.noun").write_text(
        "  1 licence\n"
        + "".join(
            f"{lemma} n {len(found)} 1 @ {len(found)} 0 {' '.join(f'{each:08d}' for each in found)}  \n"
            for lemma, found in sorted(index.items())
        )
    )
    (folder / "noun.exc").write_text("geese goose\n")
    return WordNet(folder)


def item(description: str, category: str = "animals", name: str = "a") -> ManifestItem:
    return ManifestItem(id=name, description=description, category=category)


def said(description: str, category: str, wordnet: WordNet) -> tuple[str, str]:
    (query,) = paraphrases([item(description, category)], wordnet, 0)
    return query.way, str(query.parts[0])


def test_a_noun_becomes_another_lemma_of_its_synset_but_no_latin(wordnet: WordNet) -> None:
    assert said("A grey donkey.", "animals", wordnet) == ("synonym", "A grey domestic ass.")


def test_without_another_lemma_it_becomes_its_hypernym_and_what_tells_it_apart(wordnet: WordNet) -> None:
    assert said("A crow.", "animals", wordnet) == (
        "hypernym",
        "A corvine bird: black birds having a raucous call.",
    )


def test_the_sense_is_the_first_that_fits_the_category(wordnet: WordNet) -> None:
    assert said("A crane.", "animals", wordnet)[1].startswith("A bird: large long-necked")
    assert said("A crane.", "vehicles", wordnet)[1] == "A lifting device: lifts heavy loads."


def test_the_head_is_found_before_words_that_end_a_phrase_and_the_article_follows(wordnet: WordNet) -> None:
    assert said("A pair of glasses with a case.", "clothes", wordnet)[1] in (
        "A pair of spectacles with a case.",
        "A pair of specs with a case.",
    )
    assert said("An expensive crow playing cards.", "animals", wordnet)[1].startswith(
        "An expensive corvine bird playing cards: "
    )


@pytest.mark.parametrize(
    ("description", "category"),
    [
        ("A sailboat.", "vehicles"),  # "sailing boat" shares no whole word, and the gloss none: a hypernym
        ("A zebra.", "animals"),  # not in the dictionary
        ("A crow.", "plants"),  # no sense that fits
        ("A hot-air balloon.", "vehicles"),  # its definition says balloon
    ],
)
def test_nothing_comes_out_rather_than_the_same_words(
    description: str, category: str, wordnet: WordNet
) -> None:
    made = paraphrases([item(description, category)], wordnet, 0)
    assert all(normalise(str(query.parts[0])) != normalise(description) for query in made)
    if description != "A sailboat.":
        assert not made


def test_what_is_another_items_description_is_left_out(wordnet: WordNet) -> None:
    donkey = item("A donkey.", name="a")
    assert paraphrases([donkey], wordnet, 0)
    assert not paraphrases([donkey, item("A domestic ass!", name="b")], wordnet, 0)


def test_the_same_seed_says_the_same_whatever_stands_beside(wordnet: WordNet) -> None:
    glasses = item("Glasses.", "clothes", "g")
    alone = paraphrases([glasses], wordnet, 3)
    among = paraphrases([item("A crow."), glasses], wordnet, 3)
    assert alone == among[1:]
    assert len({paraphrases([glasses], wordnet, seed)[0].parts for seed in range(12)}) > 1
    assert alone[0].item is glasses
    assert alone[0].name == "g/synonym"


def test_singular_is_found_for_plural(wordnet: WordNet) -> None:
    assert wordnet.base("crows") == "crow"
    assert wordnet.base("sailing boats") == "sailing_boat"
    assert wordnet.base("crossword") == "crossword"
