"""The profile against the real model, by its own rules, and of runs that are damaged."""

import inspect
import json
import math
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from letterloom import accounting, trained
from letterloom.accounting import Measured
from letterloom.config import RunConfig, build_config
from letterloom.errors import DataMismatchError
from letterloom.model.transformer import Transformer
from letterloom.recipes import read_recipe, recipe_names
from letterloom.reporting.profile.figures import Profile, figures, planned_steps, write_profile
from letterloom.reporting.profile.of_run import profile_run
from letterloom.reporting.profile.outline import Module, outline
from letterloom.reporting.profile.tables import tables
from letterloom.training.learner import Learner


def recipe(name: str, **training: Any) -> RunConfig:
    config = build_config(read_recipe(name))
    resolved = {"device": "cpu", "precision": "fp32", **training}
    return config.model_copy(update={"training": config.training.model_copy(update=resolved)})


def measured(config: RunConfig) -> Measured:
    """What a measurement that finds everything as computed would give."""
    found = accounting.training_memory(config, 65)
    found["peak"] = sum(found.values())
    flops = config.training.batch_size * accounting.training_flops(config.model, 65, config.model.context_length)
    return Measured(1.0, 3, "made up", {"cores": 2}, flops, found | {"process": 10**9})


def profile(name: str = "lecture-small", config: RunConfig | None = None) -> Profile:
    config = config or recipe(name)
    return Profile(name, "", config, 65, measured=measured(config))


def names(module: Module, prefix: str = "") -> set[str]:
    """The dotted names of an outline's modules, of alike blocks the first's; what is in parentheses is none."""
    found = set()
    for part in module.parts:
        name = prefix + part.name.split(" to ")[0]
        found |= names(part, f"{name}.") | ({name} if "(" not in name else set())
    return found


@pytest.mark.parametrize("name", recipe_names())
def test_the_outline_names_the_modules_that_hold_parameters(name: str) -> None:
    config = recipe(name).model
    with torch.device("meta"):
        model = Transformer(config, 65)
    holders = {parameter.rpartition(".")[0] for parameter, _ in model.named_parameters()}
    told = {part for part in names(outline(config, 65)) if not part.startswith("blocks") or part.count(".") > 1}
    leaves = {part for part in told if part not in ("blocks.0.attention", "blocks.0.mlp")}
    tied = {"head"} if config.tied_head else set()  # its parameters are the embedding's
    assert leaves == {part for part in holders if not re.match(r"blocks\.[1-9]", part)} | tied


class TestFigures:
    def test_of_the_small_lecture(self) -> None:
        told = figures(profile())
        assert told["parameters"]["total"] == 209_729
        assert sum(part["count"] for part in told["parameters"]["components"]) == 209_729
        assert told["memory"]["masked_model_bytes"] == 904_452
        assert told["dimensions"]["d_head"] == 16
        assert told["training"]["batch_characters"] == 16 * 32

    def test_with_factors_memory_and_operations_are_those_of_what_is_trained(self) -> None:
        config = recipe("lecture-small", lora_rank=4)
        told, full = figures(profile(config=config)), figures(profile())
        parameters = list(Learner(config, 65).model.parameters())
        assert told["memory"]["weights_bytes"] == sum(p.nbytes for p in parameters)
        assert told["memory"]["gradients_bytes"] == sum(p.nbytes for p in parameters if p.requires_grad)
        for part, of_what in (("memory", "training_bytes"), ("computation", "training_flops_per_step")):
            assert told[part][of_what] < full[part][of_what]
        memory = next(table for table in tables(told) if table.title.startswith("Memory"))
        assert "4 bytes a parameter, factors of rank 4 among them" in [row[1] for row in memory.rows]
        assert told["training"]["steps"] == 5000
        assert told["training"]["loss_of_blind_guessing_nats"] == pytest.approx(math.log(65))
        assert told["inference"] | {"cache_bytes": 0} == {
            "temperature": 0.8,
            "window_characters": 32,
            "window_jump_characters": 16,
            "cache_bytes": 0,
        }

    def test_memory_in_all_is_the_sum_of_its_parts(self) -> None:
        memory = figures(profile())["memory"]
        parts = ("weights", "gradients", "optimizer_state", "activations")
        assert memory["training_bytes"] == sum(memory[f"{part}_bytes"] for part in parts)
        assert memory["activations_bytes"] == sum(memory["activations_by_component_bytes"].values())

    def test_averaged_weights_are_as_many_bytes_as_the_weights(self) -> None:
        memory = figures(profile(config=recipe("lecture-small", ema_decay=0.99)))["memory"]
        assert memory["averaged_weights_bytes"] == memory["weights_bytes"]
        assert "averaged_weights_bytes" not in figures(profile())["memory"]

    def test_the_share_of_peak_is_what_it_says(self) -> None:
        told = figures(profile())["measured"]
        assert told["share_of_product_speed"] == told["flops_per_second"] / told["product_flops_per_second"] == 1.0

    def test_the_temperature_is_the_default_of_generation(self) -> None:
        default = inspect.signature(trained.Model.stream).parameters["temperature"].default
        assert figures(profile())["inference"]["temperature"] == default

    def test_ids_and_the_cache_are_called_what_they_are(self) -> None:
        rows = {row[0]: row for table in tables(figures(profile())) for row in table.rows}
        assert rows["vocab_size"][2].startswith("Distinct ids")
        assert "two embeddings" in rows["cache"][1]

    def test_are_json(self) -> None:
        json.dumps(figures(profile()), allow_nan=False)


class TestPlannedSteps:
    def test_steps(self) -> None:
        assert planned_steps(recipe("lecture-small"), None) == 5000

    def test_epochs_of_tiny_shakespeare(self) -> None:
        # 1,003,853 targets in windows of 128 are 7,843, or 122.5 batches of 64
        assert planned_steps(recipe("execution-flow"), 1_003_854) == pytest.approx(50 * 7843 / 64)
        assert planned_steps(recipe("execution-flow"), None) is None

    def test_minutes_need_a_measured_step(self) -> None:
        assert planned_steps(recipe("small"), None, seconds_per_step=0.25) == 2 * 60 / 0.25
        assert planned_steps(recipe("small"), None) is None

    def test_the_nearest_limit_ends(self) -> None:
        assert planned_steps(recipe("small", max_steps=7), None, seconds_per_step=0.25) == 7


class Page(HTMLParser):
    """The tags of a page, and whatever one of them would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "action", "data")]


class TestPages:
    @pytest.mark.parametrize("name", recipe_names())
    def test_the_page_stands_alone(self, name: str, tmp_path: Path) -> None:
        text = write_profile(profile(name), tmp_path / "new")["page"].read_text(encoding="utf-8")
        page = Page(text)
        assert not page.loads
        assert not {"script", "link", "img", "iframe"} & set(page.tags)
        assert "url(" not in text
        assert page.tags.count("table") == len(tables(figures(profile(name))))

    def test_every_row_of_markdown_is_as_wide_as_its_head(self, tmp_path: Path) -> None:
        text = write_profile(profile(), tmp_path)["markdown"].read_text(encoding="utf-8")
        for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
            assert len({line.count("|") for line in block.splitlines()}) == 1
        assert text.count("\n| --") + text.count("\n| :--") == len(tables(figures(profile())))

    def test_a_hostile_name_is_shown_as_text(self, tmp_path: Path) -> None:
        hostile = replace(profile(), name="<img src=x>", problems=("<script>",), notes=("<b>\n# head",))
        files = write_profile(hostile, tmp_path)
        page = Page(files["page"].read_text(encoding="utf-8"))
        assert not {"img", "script", "b"} & set(page.tags)
        markdown = files["markdown"].read_text(encoding="utf-8")
        assert all(f"`{text}`" in markdown for text in ("<img src=x>", "<script>", "<b> # head"))

    def test_the_same_profile_gives_the_same_bytes(self, tmp_path: Path) -> None:
        first = [file.read_bytes() for file in write_profile(profile(), tmp_path).values()]
        assert first == [file.read_bytes() for file in write_profile(profile(), tmp_path).values()]


def spoil_checkpoints(run: Path) -> None:
    for weights in run.glob("checkpoints/step-*/model.safetensors"):
        weights.write_bytes(weights.read_bytes()[:-1])


def put_folder(run: Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()


def log_seconds(run: Path, seconds: list[float]) -> None:
    lines = [{"kind": "train", "step": i, "seconds": s} for i, s in enumerate(seconds, start=1)]
    (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


DAMAGE: dict[str, tuple[Callable[[Path], object], list[str]]] = {  # what is done, and what has to be named
    "no settings": (lambda run: (run / "run.toml").unlink(), ["run.toml", "is used in its place"]),
    "torn settings": (lambda run: (run / "run.toml").write_text("[model"), ["run.toml", "is used in its place"]),
    "empty settings": (lambda run: (run / "run.toml").write_text(""), ["run.toml is damaged", "in its place"]),
    "no tokenizer": (lambda run: (run / "tokenizer.json").unlink(), ["tokenizer.json", "is used in its place"]),
    "torn tokenizer": (lambda run: (run / "tokenizer.json").write_text("{"), ["tokenizer.json"]),
    "no metrics": (lambda run: (run / "metrics.jsonl").unlink(), ["metrics.jsonl is missing"]),
    "torn metrics": (lambda run: (run / "metrics.jsonl").write_text("{}\n"), ["metrics.jsonl is damaged: line 1"]),
    "odd metrics": (lambda run: (run / "metrics.jsonl").write_text('{"step": 1}\n'), ["metrics.jsonl is damaged"]),
    "metrics of no time": (lambda run: log_seconds(run, [0.0, 0.0, 0.0]), ["metrics.jsonl is damaged", "stand still"]),
    "metrics back in time": (lambda run: log_seconds(run, [2.0, 1.0]), ["metrics.jsonl is damaged", "backwards"]),
    "metrics at no time": (lambda run: log_seconds(run, [1.0, math.nan]), ["metrics.jsonl is damaged"]),
    "metrics in a folder": (put_folder, ["metrics.jsonl: Is a directory"]),
    "torn environment": (lambda run: (run / "environment.json").write_text("["), ["environment.json is damaged"]),
    "no text": (lambda run: (run / "corpus.json").unlink(), ["corpus.json"]),
    "odd text": (lambda run: (run / "corpus.json").write_text("{}"), ["corpus.json is damaged"]),
    "torn checkpoints": (spoil_checkpoints, ["model.safetensors is damaged"]),
}


class TestRuns:
    def test_a_whole_run_has_no_problems(self, tiny_run: Path) -> None:
        found = profile_run(tiny_run)
        assert found.problems == ()
        told = figures(found)
        with torch.device("meta"):
            model = Transformer(found.config.model, found.vocab_size or 0)
        assert told["parameters"]["total"] == sum(parameter.numel() for parameter in model.parameters())
        assert told["measured"]["steps"] == 12
        assert told["measured"]["environment"]["threads"] == 1
        assert told["training"]["steps"] == 12

    def test_no_table_is_empty(self, tiny_run: Path) -> None:
        titles = [table.title for table in tables(figures(profile_run(tiny_run))) if table.rows]
        assert titles == [table.title for table in tables(figures(profile_run(tiny_run)))]
        assert titles[-1] == "Measured"

    def test_the_time_of_a_step_is_the_median_of_the_log(self, run_copy: Path) -> None:
        log_seconds(run_copy, [0.5, 1.0, 11.0, 12.0, 12.5])  # a validation fell into the third
        found = profile_run(run_copy).measured
        assert found is not None
        assert (found.seconds_per_step, found.steps) == (0.5, 5)

    def test_the_time_of_the_run_is_told_beside_that_of_its_steps(self, run_copy: Path) -> None:
        log_seconds(run_copy, [0.5, 1.0, 11.0, 12.0, 12.5])
        told = figures(profile_run(run_copy))
        assert (told["training"]["trained_steps"], told["training"]["trained_seconds"]) == (5, 12.5)
        rows = {row[0]: row[1] for table in tables(told) if table.title == "Training" for row in table.rows}
        assert rows["time of all steps"].startswith("6.0 s, ")  # 12 steps at the median
        assert rows["time of the run"].startswith("12.5 s for 5 steps, ")

    @pytest.mark.parametrize(("damage", "words"), DAMAGE.values(), ids=DAMAGE.keys())
    def test_of_a_damaged_one_the_rest_is_told(
        self, run_copy: Path, damage: Callable[[Path], object], words: list[str]
    ) -> None:
        whole = figures(profile_run(run_copy))
        damage(run_copy)
        found = profile_run(run_copy)
        problems = "\n".join(found.problems)
        assert all(word in problems for word in words), problems
        assert all("\n" not in problem for problem in found.problems)
        told = figures(found)
        assert told["parameters"] == whole["parameters"]
        assert tables(told)
        json.dumps(told, allow_nan=False)

    def test_without_any_tokenizer_the_text_tells_its_vocabulary(self, run_copy: Path) -> None:
        vocab_size = profile_run(run_copy).vocab_size
        (run_copy / "tokenizer.json").unlink()
        spoil_checkpoints(run_copy)
        assert profile_run(run_copy).vocab_size == vocab_size

    def test_without_a_vocabulary_dimensions_and_settings_are_left(self, run_copy: Path) -> None:
        for name in ("tokenizer.json", "corpus.json"):
            (run_copy / name).unlink()
        spoil_checkpoints(run_copy)
        told = figures(profile_run(run_copy))
        assert told["parameters"] is told["memory"] is told["comparison"] is None
        assert [table.title for table in tables(told)] == ["Dimensions", "Training", "Inference"]
        assert told["dimensions"]["d_model"] == 16

    def test_without_any_settings_nothing_can_be_told(self, run_copy: Path) -> None:
        (run_copy / "run.toml").unlink()
        spoil_checkpoints(run_copy)
        with pytest.raises(DataMismatchError, match=r"nothing can be told of .*run\.toml"):
            profile_run(run_copy)

    def test_a_checkpoint_has_the_log_of_its_run(self, tiny_run: Path, run_copy: Path, tmp_path: Path) -> None:
        inside = profile_run(tiny_run / "checkpoints" / "best")
        assert inside.measured == profile_run(tiny_run).measured
        assert inside.about.startswith("a checkpoint")
        (run_copy / "checkpoints" / "last").resolve().rename(tmp_path / "alone")
        alone = profile_run(tmp_path / "alone")
        assert (alone.measured, alone.problems) == (None, ())
        assert alone.vocab_size == inside.vocab_size
