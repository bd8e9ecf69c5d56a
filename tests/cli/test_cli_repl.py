"""The REPL line by line: what a line means, and what becomes of one that cannot be done."""

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from letterloom import api
from letterloom.cli.repl_commands import COMMANDS, goes_on
from letterloom.cli.repl_session import shown
from letterloom.errors import NonFiniteError
from letterloom.generation.compiled.engine import CompiledStreams

N = 30
Repl = Callable[..., Any]


@pytest.fixture
def continuation(tiny_run: Path) -> Callable[..., str]:
    """The prompt and the text after it, without a REPL."""

    def write(prompt: str, run: Path = tiny_run, **options: Any) -> str:
        return api.load(run).generate(prompt, **{"max_new_tokens": N, **options})

    return write


@pytest.fixture
def repl(call: Any, tiny_run: Path, monkeypatch: pytest.MonkeyPatch) -> Repl:
    """The command with these lines on standard input, in this process."""

    def run(*lines: str, flags: tuple[Any, ...] = (), run: Path = tiny_run) -> Any:
        piped = "".join(f"{line}\n" for line in lines).encode(errors="surrogateescape")
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(piped)))
        return call("repl", run, "--length", N, *flags)

    return run


class TestPrompts:
    def test_each_line_is_continued_as_the_next_sample(self, repl: Repl, continuation: Any) -> None:
        result = repl("the loom", "the loom", "a")
        texts = [continuation(prompt, sample=i) for i, prompt in enumerate(["the loom", "the loom", "a"])]
        assert result.out == "".join(f"{text}\n" for text in texts)
        assert texts[0] != texts[1]
        assert (result.err, result.exit_code) == ("", 0)

    def test_flags_are_the_first_settings(self, repl: Repl, continuation: Any) -> None:
        result = repl("the", flags=("--seed", 3, "--top-k", 2, "--stop", "x", "--stop", "-y"))
        assert result.out == continuation("the", seed=3, top_k=2, stop=("x", "-y")) + "\n"

    @pytest.mark.parametrize(
        ("lines", "prompt"),
        [
            ([""], ""),
            (["the\\", "loom\\", "a"], "the\nloom\na"),
            (["the\\"], "the\n"),
            (["  /the  "], "  the  "),
            (["//the"], "the"),
            (["the\\\\", "/quit"], "the"),
        ],
        ids=str,
    )
    def test_what_a_line_stands_for(self, repl: Repl, continuation: Any, lines: list[str], prompt: str) -> None:
        result = repl("/unknown skip", *lines)  # the vocabulary has no slash and no backslash
        assert result.out.translate({ord("/"): None, ord("\\"): None}) == continuation(prompt) + "\n"
        assert result.err == "unknown  skip\n"

    def test_a_prompt_may_begin_with_a_slash(self, repl: Repl) -> None:
        assert repl("/unknown skip", "//help").out.startswith("/help")

    def test_an_error_in_the_middle_of_a_text_ends_its_line(
        self, repl: Repl, continuation: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        texts = [continuation("the"), continuation("a", sample=1)]
        draw, chunks = CompiledStreams.draw, count(1)

        def failing(*arguments: Any) -> Any:
            if next(chunks) == 3:
                raise NonFiniteError("no number")
            return draw(*arguments)

        monkeypatch.setattr(CompiledStreams, "draw", failing)
        result = repl("the", "a")
        begun = result.out.removesuffix(f"\n{texts[1]}\n")
        assert texts[0].startswith(begun)
        assert len("the") < len(begun) < len(texts[0])
        assert result.err == "letterloom: error: no number\n"

    def test_quit_leaves_the_rest_unread(self, repl: Repl, continuation: Any) -> None:
        assert repl("a", "/quit", "the").out == continuation("a") + "\n"

    @given(st.text(alphabet="a\\"))
    def test_a_line_goes_on_after_an_odd_number_of_backslashes(self, line: str) -> None:
        assert goes_on(line) == (len(line.rpartition("a")[2]) % 2 == 1)


class TestSettings:
    @pytest.mark.parametrize(
        ("line", "options"),
        [
            ("/temperature 0", {"temperature": 0}),
            ("/top-k 2", {"top_k": 2}),
            ("/top-p 0.3", {"top_p": 0.3}),
            ("/min-p 0.9", {"min_p": 0.9}),
            ("/repetition-penalty 100", {"repetition_penalty": 100}),  # small logits: less would change nothing
            ("/length 7", {"max_new_tokens": 7}),
            ("/seed 9", {"seed": 9}),
            ('/stop "e\\n" " " o', {"stop": ("e\n", " ", "o")}),
        ],
        ids=str,
    )
    def test_a_command_changes_the_text(self, repl: Repl, continuation: Any, line: str, options: Any) -> None:
        assert repl(line, "the loom").out == continuation("the loom", **options) + "\n"
        assert continuation("the loom", **options) != continuation("the loom")

    def test_unknown_characters_are_left_out_on_request(self, repl: Repl, continuation: Any) -> None:
        assert repl("/unknown skip", "th\N{FISH}e").out == continuation("th\N{FISH}e", unknown="skip") + "\n"

    @pytest.mark.parametrize("name", ["top-k 2", "top-p 0.3", "min-p 0.9", "repetition-penalty 2", "stop e"])
    def test_off_undoes(self, repl: Repl, continuation: Any, name: str) -> None:
        assert repl(f"/{name}", f"/{name.split()[0]} off", "the loom").out == continuation("the loom") + "\n"

    def test_a_seed_begins_with_its_first_sample(self, repl: Repl, continuation: Any) -> None:
        texts = [continuation("a"), continuation("a", sample=1), continuation("a")]
        assert repl("a", "a", "/seed 0", "a").out == "".join(f"{text}\n" for text in texts)

    def test_settings_and_the_model_are_told(self, repl: Repl, tiny_run: Path) -> None:
        result = repl("a", "/top-k 3", '/stop "\\n" é', "/settings")
        told = dict(line.split("  ", 1) for line in result.err.splitlines()[2:])
        parameters = load_file(tiny_run / "checkpoints" / "best" / "model.safetensors")
        assert {name: value.strip() for name, value in told.items()} == {
            "model": str((tiny_run / "checkpoints" / "best").resolve()),
            "size": f"{sum(tensor.size for tensor in parameters.values()):,} parameters",
            "context": "16 characters",
            "vocabulary": f"{len(parameters['embedding.weight'])} characters",
            "temperature": "0.8",
            "top-k": "3",
            "top-p": "1.0",
            "min-p": "0.0",
            "repetition-penalty": "1.0",
            "length": str(N),
            "seed": "0",
            "stop": '"\\n" "é"',
            "unknown": "error",
            "next sample": "1",
        }

    def test_help_tells_every_command(self, repl: Repl) -> None:
        result = repl("/help")
        assert all(f"{name} {command.example}" in result.err for name, command in COMMANDS.items())
        assert "several times" not in result.err  # a flag may be given so; a later /stop replaces the first
        assert result.out == ""

    @pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.takes])
    def test_examples_can_be_read(self, name: str) -> None:
        COMMANDS[name].parse(COMMANDS[name].example)

    @given(st.lists(st.text(st.characters(), min_size=1)))
    def test_stop_strings_are_read_as_they_are_shown(self, strings: list[str]) -> None:
        line = shown(tuple(strings))
        assert COMMANDS["/stop"].parse(line) == tuple(strings)
        assert line.splitlines() == [line]
        assert "\x1b" not in line


class TestSave:
    def test_prompts_texts_and_how_they_were_drawn(self, repl: Repl, tmp_path: Path) -> None:
        file = tmp_path / "new" / "a.txt"
        result = repl("a", "/seed 3", "/top-k 2", "the\\", "loom", f"/save {file}")
        assert f"saved  {file}, texts: 2\n" in result.err
        heads = [line for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("=== ")]
        assert ["seed 0" in heads[0], "seed 3" in heads[1], "top_k 2" in heads[1]] == [True] * 3
        assert [json.loads(head.split(", prompt ")[1].removesuffix(" ===")) for head in heads] == ["a", "the\nloom"]
        first, second = (f"{text}\n" for text in result.out.split("\nthe\nloom"))
        assert file.read_text(encoding="utf-8") == f"{heads[0]}\n{first}\n{heads[1]}\nthe\nloom{second[:-1]}"

    def test_saving_again_brings_the_file_up_to_date(self, repl: Repl, tmp_path: Path) -> None:
        file = tmp_path / "a.txt"
        assert "error" not in repl("a", f"/save {file}", "the", f"/save {file}").err
        assert file.read_text(encoding="utf-8").count("=== model") == 2

    def test_a_file_that_was_there_is_kept(self, repl: Repl, tmp_path: Path) -> None:
        (tmp_path / "a.txt").write_text("mine")
        assert "another name" in repl("a", f"/save {tmp_path / 'a.txt'}").err
        assert (tmp_path / "a.txt").read_text() == "mine"

    def test_nothing_said_is_nothing_saved(self, repl: Repl, tmp_path: Path) -> None:
        assert "nothing to save" in repl(f"/save {tmp_path / 'a.txt'}").err
        assert list(tmp_path.iterdir()) == []


class TestLoad:
    def test_another_model_goes_on(self, repl: Repl, tiny_run: Path, continuation: Any) -> None:
        other = tiny_run / "checkpoints" / "step-000008"
        texts = [continuation("the"), continuation("the", run=other, sample=1, max_new_tokens=400)]
        assert texts[1] != continuation("the", sample=1, max_new_tokens=400)
        result = repl("the", f"/load {other}", "/length 400", "the")
        assert result.out == "".join(f"{text}\n" for text in texts)
        assert str(other) in result.err

    def test_of_a_damaged_run_the_old_model_stays(self, repl: Repl, run_copy: Path, continuation: Any) -> None:
        for weights in run_copy.glob("checkpoints/step-*/model.safetensors"):
            weights.write_bytes(b"damaged")
        result = repl(f"/load {run_copy}", "the")
        assert "model.safetensors" in result.err
        assert result.out == continuation("the") + "\n"

    def test_a_run_that_vanished_while_it_is_used(
        self, call: Any, run_copy: Path, continuation: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Piped:
            def isatty(self) -> bool:
                return False

            def __iter__(self) -> Iterator[str]:
                shutil.rmtree(run_copy)
                yield from [f"/load {run_copy}\n", "the\n"]

        monkeypatch.setattr(sys, "stdin", Piped())
        result = call("repl", run_copy, "-n", N)
        assert f"there is no run at {run_copy}" in result.err
        assert result.out == continuation("the") + "\n"


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("/temprature 1", ["/temprature", "'/temperature'", "/help", "//"]),
        ("/", ["/help"]),
        ("/temperature", ["/temperature", "a number", "0.9"]),
        ("/temperature hot", ["hot", "a number"]),
        ("/temperature 1 2", ["1 2", "a number"]),
        ("/temperature -1", ["/temperature = -1"]),
        ("/temperature nan", ["/temperature = nan"]),
        ("/temperature off", ["off", "a number"]),
        ("/top-k 1.5", ["1.5", "whole number"]),
        ("/top-k 0", ["/top-k = 0"]),
        ("/top-p 1.1", ["/top-p = 1.1"]),
        ("/min-p 2", ["/min-p = 2"]),
        ("/repetition-penalty 0.5", ["/repetition-penalty = 0.5"]),
        ("/length 0", ["/length = 0"]),
        ("/length many", ["many", "whole number"]),
        ("/seed -1", ["/seed = -1"]),
        ("/seed 4294967296", ["/seed = 4294967296"]),
        ('/stop ""', ["stop"]),
        ('/stop "a', ["/stop", "double quotes"]),
        ("/stop 'a'", ["/stop", "double quotes"]),
        ("/stop \\x", ["/stop", "double quotes"]),
        ("/unknown skp", ["skp", "skip"]),
        ("/settings now", ["/settings"]),
        ("/save", ["/save", "a file"]),
        ("/save .", ["is a folder", "name a file"]),
        ("/save a\0b", ["/save", "a file"]),
        ("/save ~nobody-of-this-name/a", ["/save", "a file"]),
        (f"/save {'a' * 300}", ["too long"]),
        ("/save {}/x", ["cannot write"]),
        ("/load", ["/load"]),
        ("/load nowhere", ["no run at nowhere"]),
        ("/load {}", ["run.toml"]),
        (f"/load {'a' * 300}", ["too long"]),
        ("the \N{FISH}", ["U+1F41F", "`unknown`", "skip"]),
        ("the \x1b[2J", ["U+001B"]),
    ],
    ids=lambda value: ascii(value)[:40],
)
def test_bad_input_is_one_line_and_changes_nothing(
    repl: Repl, continuation: Any, tiny_text: Path, line: str, words: list[str]
) -> None:
    result = repl("a", line.format(tiny_text), "the")
    assert result.err.startswith("letterloom: error: ")
    assert (result.err.count("\n"), "\x1b" in result.err) == (1, False)
    assert [word for word in words if word not in result.err] == []
    assert result.out == continuation("a") + "\n" + continuation("the", sample=1) + "\n"
    assert result.exit_code == 0


def test_a_flag_out_of_range_ends_it_at_once(repl: Repl) -> None:
    result = repl("the", flags=("--temperature", -1))
    assert (result.exit_code, "temperature = -1" in result.error) == (2, True)


def test_running_out_of_memory_is_told_and_a_bug_is_not_hidden(repl: Repl, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(error: BaseException) -> None:
        raise error

    session = "letterloom.cli.repl_session.Session.save"
    monkeypatch.setattr(session, lambda *_: fail(MemoryError()))
    assert "out of memory" in repl("/save a").err
    monkeypatch.setattr(session, lambda *_: fail(RuntimeError("a bug")))
    with pytest.raises(RuntimeError, match="a bug"):
        repl("/save a")
