"""What every page is made with: templates filled, pictures set in the page's own colours."""

import re
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from letterloom.reporting import markup
from letterloom.reporting.curves import COLOURS


def render(template: str, content: dict[str, Any], room: str = "letterloom.reporting") -> str:
    """Fill a template, named as it lies below the folder of `room`; it may extend those that lie below this one.

    HTML escapes every value, Markdown puts it into code.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package, "") for package in (room, "letterloom.reporting")]),
        autoescape=template.endswith(".html.jinja"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        name: getattr(markup, name) for name in ("plain", "metric", "duration", "fence", "code", "prose")
    }
    environment.filters["ticks"] = _ticks
    return environment.get_template(template).render(content)


def inline(svg: bytes, told: str) -> Markup:
    """A picture as part of a page: in its colours and its font, with `told` for those who cannot see it."""
    text = svg.decode()
    for name, colour in COLOURS.items():
        text = text.replace(colour, f"var(--{name})")
    text = text[text.index("<svg") :].replace("<svg", f'<svg role="img" aria-label="{told}"', 1)
    return Markup(text)  # drawn by us; names of runs in it are escaped by Matplotlib


def _ticks(text: str) -> Markup:
    """What stands between backticks, as code."""
    return Markup(re.sub("`([^`]*)`", r"<code>\1</code>", str(escape(text))))
