import json
import xml.etree.ElementTree as ET
from pathlib import Path

import letterloom
from letterloom.api import Run


def svg_in(html: str) -> str:
    return html[html.index("<svg") : html.index("</svg>") + len("</svg>")]


def test_a_run_shows_its_numbers_and_its_curve(tiny_run: Path) -> None:
    html = Run(tiny_run)._repr_html_()
    scores = json.loads((tiny_run / "evaluation.json").read_text())
    for split in ("validation", "training"):
        assert f"{scores[split]['blocks']['bits_per_character']:.4f} bits per character" in html
    assert "validation, best" in "".join(ET.fromstring(svg_in(html)).itertext())


def test_an_unfinished_run_under_an_odd_name_is_shown_as_such(run_copy: Path) -> None:
    (run_copy / "evaluation.json").unlink()
    odd = run_copy.rename(run_copy.with_name("a <b> run"))
    html = Run(odd)._repr_html_()
    assert "a &lt;b&gt; run" in html
    assert "<b>" not in html
    assert "not finished" in html
    assert "bits per character</text>" in svg_in(html)


def test_curves_are_a_figure_that_jupyter_shows(tiny_run: Path, tmp_path: Path) -> None:
    figure = Run(tiny_run).curves()
    figure.axes[0].set_title("Loss of a loom")
    assert "Loss of a loom" in "".join(ET.fromstring(svg_in(figure._repr_svg_())).itertext())
    figure.savefig(tmp_path / "loom.png")
    assert (tmp_path / "loom.png").read_bytes().startswith(b"\x89PNG")


def test_a_model_is_told_in_one_line(tiny_run: Path) -> None:
    model = letterloom.load(tiny_run, device="cpu")
    count = sum(parameter.numel() for parameter in model.network.parameters())
    assert f"{count:,} parameters" in repr(model)
    assert "\n" not in repr(model)
