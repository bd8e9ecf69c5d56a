import inspect
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from letterloom import api
from letterloom.cli.arguments import DEFAULTS


@pytest.fixture
def continuation(tiny_run: Path) -> Any:
    def write(prompt: str, n: int, **options: Any) -> str:
        return "".join(api.load(tiny_run).stream(prompt, n, **options))

    return write


@pytest.mark.parametrize("stream", ["--stream", "--no-stream"])
def test_the_prompt_and_the_text_and_nothing_else(call: Any, tiny_run: Path, continuation: Any, stream: str) -> None:
    result = call("generate", tiny_run, "--prompt", "the loom", "-n", 40, "--seed", 3, stream)
    assert result.out == "the loom" + continuation("the loom", 40, seed=3)
    assert len(result.out) == len("the loom") + 40
    assert result.err == ""


@pytest.mark.parametrize(
    ("name", "value"),
    [("temperature", 0), ("top_k", 2), ("top_p", 0.3), ("min_p", 0.9), ("repetition_penalty", 2), ("seed", 9)],
)
def test_options_reach_the_sampler(call: Any, tiny_run: Path, continuation: Any, name: str, value: float) -> None:
    text = call("generate", tiny_run, "--max-new-tokens", 60, f"--{name.replace('_', '-')}", value).out
    assert text == continuation("", 60, **{name: value})
    assert text != continuation("", 60)


def test_the_flags_have_the_defaults_of_the_python_face() -> None:
    parameters = inspect.signature(api.Model.stream).parameters
    flags = asdict(DEFAULTS)
    assert flags == {name: parameters[name].default for name in flags}


def test_a_stop_string_ends_the_text(call: Any, tiny_run: Path, continuation: Any) -> None:
    whole = continuation("the", 300, seed=1)
    stop = whole[20:22]
    result = call("generate", tiny_run, "--prompt", "the", "-n", 300, "--seed", 1, "--stop", "\x00", "--stop", stop)
    assert result.out == "the" + whole[: whole.index(stop)]


def test_samples_stand_under_a_line_each(call: Any, tiny_run: Path, continuation: Any) -> None:
    out = call("generate", tiny_run, "--prompt", "the", "-n", 30, "--samples", 2).out
    first, second = continuation("the", 30, sample=0), continuation("the", 30, sample=1)
    assert first != second
    assert out == f"=== sample 1 of 2 ===\nthe{first}\n=== sample 2 of 2 ===\nthe{second}\n"


def test_a_prompt_may_look_like_an_option(call: Any, tiny_run: Path) -> None:
    out = call("generate", tiny_run, "--prompt", "--seed", "-n", 1, "--unknown", "skip").out
    assert out.startswith("--seed")


def test_control_characters_are_escaped_on_a_terminal_alone(
    call: Any, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("generate", tiny_run, "--prompt", "a\x1b[2Jb", "--unknown", "skip", "-n", 1)
    assert call(*arguments).out.startswith("a\x1b[2Jb")
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    out = call(*arguments).out
    assert out.startswith("a\\x1b[2Jb")
    assert out.endswith("\n")


def test_neither_torch_nor_scipy_is_loaded_to_write_on_a_cpu(tiny_run: Path) -> None:
    command = f"import sys; from letterloom.cli import main; main(['generate', {str(tiny_run)!r}, '-n', '3'])"
    loaded = "print(sorted({'torch', 'scipy.linalg', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", f"{command}; {loaded}"], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_a_checkpoint_folder_does_as_well(call: Any, tiny_run: Path) -> None:
    (checkpoint,) = (tiny_run / "checkpoints").glob("step-*12")
    assert call("generate", checkpoint, "-n", 5).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--prompt", "\N{FISH}"], ["U+1F41F", "`unknown`", "skip"]),
        (["--prompt", "\udcff"], ["U+DCFF"]),
        (["-n", "0"], ["max_new_tokens", "0"]),
        (["-n", "3.4"], ["-n", "3.4"]),
        (["--max-new-tokens", "many"], ["--max-new-tokens", "many"]),
        (["--temperature", "-1"], ["temperature", "-1"]),
        (["--temperature", "nan"], ["temperature", "nan"]),
        (["--temperature", "hot"], ["--temperature", "hot"]),
        (["--top-k", "0"], ["top_k", "0"]),
        (["--top-k", "1.5"], ["--top-k", "1.5"]),
        (["--top-p", "0"], ["top_p"]),
        (["--top-p", "1.1"], ["top_p", "1.1"]),
        (["--min-p", "2"], ["min_p", "2"]),
        (["--repetition-penalty", "0.5"], ["repetition_penalty", "0.5"]),
        (["--seed", "-1"], ["seed", "-1"]),
        (["--seed", "4294967296"], ["seed", "4294967296"]),
        (["--stop", ""], ["stop"]),
        (["--samples", "0"], ["samples", "0"]),
        (["--unknown", "skp"], ["--unknown", "skip"]),
        (["--stream=maybe"], ["--stream"]),
        (["--temprature", "1"], ["--temperature"]),
    ],
    ids=lambda value: ascii(" ".join(value)),
)
def test_wrong_input(call: Any, tiny_run: Path, arguments: list[str], words: list[str]) -> None:
    result = call("generate", tiny_run, *arguments)
    assert result.exit_code == 2
    assert all(word in result.error for word in words), result.error


def test_what_is_not_loaded_in_vain_can_be_loaded_afterwards(
    call: Any, tiny_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = "scipy.linalg.cython_blas"
    monkeypatch.delitem(sys.modules, module, raising=False)
    assert call("generate", tiny_run, "-n", 3).exit_code == 0
    assert sys.modules.get(module, module) is not None  # None: its import would fail for as long as the process lives
