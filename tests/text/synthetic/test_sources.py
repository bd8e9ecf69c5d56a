import hashlib
import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from letterloom.config import TextConfig
from letterloom.errors import CorpusError
from letterloom.text.corpora import open_source
from letterloom.text.encoding import Corpus, open_corpus
from letterloom.text.synthetic.sources import ALL, KINDS, open_synthetic
from letterloom.text.tokenizers import CharacterTokenizer

every_kind = pytest.mark.parametrize("kind", KINDS)
SHA256 = {  # of 10,000 characters, seed 1: a name gives the same text for ever and everywhere
    "uniform": "a2ee5ee6a4390983cee14f34b0bb5a97d49646ff63bfe4fc2752a58c86c721c6",
    "markov": "30dcbab050d2b9a135ccd09d693c79ddfc7900961f99441d122811a2305e9d4c",
    "hmm": "b00d01860a21cf790ed5970d9f5235ebf7f051f5534ffa7fad3fcfb13dd4ff6c",
    "grammar": "830b89a6e3d69db3147e5cc8d3fb161be2370fb4590b3799b2fcce81b6b9bdd3",
    "copy": "4b987df68bf725f8ec447217c1c5cd5304d419e7390e41966586df5adaa9287b",
    "periodic": "4c6d3ee3101d9a273942a31914bd41b3c8e743ac5b60b957229923461153613b",
}


def opened(*corpus: str | Path, **values: Any) -> Corpus:
    return open_corpus(TextConfig(corpus=tuple(map(str, corpus)), **values))


class TestNames:
    @every_kind
    def test_a_name_gives_one_text_for_ever(self, kind: str) -> None:
        text = open_synthetic(f"synthetic:{kind},characters=10000,seed=1").text
        assert len(text) == 10_000
        assert hashlib.sha256(text.encode()).hexdigest() == SHA256[kind]

    @every_kind
    def test_a_longer_text_begins_with_the_shorter_one(self, kind: str) -> None:
        texts = [open_synthetic(f"synthetic:{kind},characters={n}").text for n in (1, 10, 999, 1000)]
        assert all(longer.startswith(shorter) for shorter, longer in pairwise(texts))

    @every_kind
    def test_another_seed_gives_another_text(self, kind: str) -> None:
        texts = {open_synthetic(f"synthetic:{kind},characters=100,seed={seed}").text for seed in range(5)}
        assert len(texts) == 5

    @every_kind
    def test_a_text_can_be_read(self, kind: str) -> None:
        text = open_synthetic(f"synthetic:{kind},characters=5000").text
        assert text.replace(" ", "").replace("\n", "").isalpha()
        assert text.isascii()

    @every_kind
    def test_the_whole_name_tells_every_parameter(self, kind: str) -> None:
        source = open_synthetic(f"synthetic:{kind}")
        told = dict(setting.split("=") for setting in source.name.split(",")[1:])
        assert told == {p.name: str(p.default) for p in (*KINDS[kind].parameters, *ALL)}
        assert len(source.text) == 200_000
        assert open_synthetic(source.name).text == source.text

    @every_kind
    def test_every_parameter_can_be_at_its_lowest(self, kind: str) -> None:
        lowest = ",".join(f"{p.name}={p.low}" for p in (*KINDS[kind].parameters, *ALL) if p.name != "characters")
        assert np.isfinite(open_synthetic(f"synthetic:{kind},{lowest},characters=50").nats).all()

    @pytest.mark.parametrize(
        ("name", "told"),
        [
            ("markof", "no synthetic source 'markof'; did you mean 'markov'?"),
            ("", "no synthetic source ''; there are uniform, markov, hmm, grammar, copy, periodic"),
            ("markov,symbol=3", "the source 'markov' has no parameter 'symbol'; did you mean 'symbols'?"),
            ("uniform,order=2", "the source 'uniform' has no parameter 'order'; it takes symbols, characters, seed"),
            ("markov,", "has no parameter ''; it takes symbols, order, characters, seed"),
            ("markov,order=1,order=2", "order is given twice; keep one of them"),
            ("markov,symbols=1", "symbols = '1': should be a whole number from 2 to 52"),
            ("markov,symbols", "symbols = '': should be a whole number from 2 to 52"),
            ("hmm,states=2.5", "states = '2.5': should be a whole number from 2 to 16"),
            ("hmm,states=\N{SUPERSCRIPT TWO}", "should be a whole number from 2 to 16"),
            ("hmm,seed=-1", "seed = '-1': should be a whole number from 0 to 4,294,967,295"),
            (f"hmm,seed={'9' * 5000}", "should be a whole number from 0 to 4,294,967,295"),
            ("copy,characters=99999999", "should be a whole number from 1 to 10,000,000"),
            ("markov,symbols=52,order=3", "symbols ** order is 140,608, and should be at most 20,000"),
            ("copy,shortest=9", "shortest is 9, and should be at most longest, 8"),
            ("markov,or\nder=2", "has no parameter 'or\\nder'; did you mean 'order'?"),
        ],
    )
    def test_a_wrong_name_is_told_in_one_line(self, name: str, told: str) -> None:
        with pytest.raises(CorpusError) as caught:
            open_source([f"synthetic:{name}"])
        assert told in str(caught.value)
        assert len(str(caught.value).splitlines()) == 1

    def test_a_mistyped_prefix_is_met(self) -> None:
        with pytest.raises(CorpusError, match=r"no file.* did you mean 'synthetic:markov'\?"):
            open_source(["syntetic:markov"])


class TestAsACorpus:
    def test_the_run_keeps_the_whole_name(self) -> None:
        source = open_source(["synthetic:uniform,seed=3"])
        assert source.corpus == ("synthetic:uniform,symbols=26,characters=200000,seed=3",)
        assert source.documents[0].name == source.corpus[0]
        assert source.documents[0].licence == "public domain"

    def test_a_file_of_that_name_is_told(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "synthetic:uniform").write_text("hello")
        [note] = open_source(["synthetic:uniform"]).notes
        assert "./synthetic:uniform" in note

    @pytest.mark.parametrize("tokenizer", ["characters", "bytes"])
    @pytest.mark.parametrize("fraction", [0.9, 0.37])
    @every_kind
    def test_the_limit_is_what_each_part_costs_the_process(self, kind: str, fraction: float, tokenizer: str) -> None:
        corpus = opened(f"synthetic:{kind},characters=2000", train_fraction=fraction, tokenizer=tokenizer)
        source = open_synthetic(f"synthetic:{kind},characters=2000")
        cut = int(fraction * 2000)
        assert corpus.tokenizer.decode(corpus.validation) == source.text[cut:]
        limit = corpus.description["limit"]
        # of the whole text, less what the first part would cost without the other
        whole, first = source.nats.sum(), source.process.nats(source.text[:cut]).sum()
        assert limit["train"] == pytest.approx(first / cut)
        assert limit["validation"] == pytest.approx((whole - first) / (2000 - cut))
        assert limit["entropy_rate"] == source.process.entropy_rate
        assert corpus.limit == limit["validation"]

    @pytest.mark.parametrize(
        "values",
        [{"records": "lines"}, {"end_of_text": True}, {"tokenizer": "bytes", "end_of_text": True}],
        ids=["records", "end of text", "bytes and end of text"],
    )
    def test_where_the_ids_are_not_the_characters_alone_none_is_told(self, values: dict[str, Any]) -> None:
        corpus = opened("synthetic:grammar,characters=2000", **values)
        assert "limit" not in corpus.description
        assert corpus.limit is None

    def test_of_several_texts_or_a_file_none_is_told(self, tiny_text: Path) -> None:
        uniform = "synthetic:uniform,characters=100"
        for texts in ([uniform, uniform], [uniform, tiny_text], [tiny_text]):
            assert "limit" not in opened(*texts).description

    def test_in_a_vocabulary_that_lacks_characters_none_is_told(self) -> None:
        config = TextConfig(corpus=("synthetic:uniform,symbols=4,characters=100",))
        assert open_corpus(config, CharacterTokenizer("abcdef")).limit == pytest.approx(math.log(4))
        assert open_corpus(config, CharacterTokenizer("abc"), unknown="replace").limit is None

    def test_one_letter_alone_has_no_entropy(self) -> None:
        corpus = opened("synthetic:uniform,symbols=1,characters=100")
        assert corpus.description["limit"] == {"entropy_rate": 0.0, "train": 0.0, "validation": 0.0}


def test_the_command_lists_every_kind_with_its_parameters(call: Callable[..., Any]) -> None:
    listed = {kind["name"]: kind["parameters"] for kind in json.loads(call("corpora", "--json").out)["synthetic"]}
    assert listed.keys() == {f"synthetic:{kind}" for kind in KINDS}
    shown = call("corpora").out
    for name, parameters in listed.items():
        assert name in shown
        given = ",".join(f"{parameter['name']}={parameter['default']}" for parameter in parameters)
        assert open_source([name]).corpus == (f"{name},{given}",)
        assert all(f"{parameter['name']}={parameter['default']}" in shown for parameter in parameters)
