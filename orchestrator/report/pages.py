"""What every HTML page here shares: templates that escape, and a style that the page vouches for.

No script, no request: a content security policy says so to the browser, and text from outside is
escaped wherever it stands.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.visible_text import visible, visible_line

if TYPE_CHECKING:
    import jinja2
    import markupsafe

_FOLDER = Path(__file__).parent
#: Longer lines are cut: a name of a megabyte stands on a page a hundred times.
_LONGEST_LINE = 2000


@dataclass(frozen=True)
class Style:
    """A style sheet and its SHA-256 as a content security policy names it."""

    text: str
    digest: str


def page_style(*names: str) -> Style:
    """The style sheets beside this module, as one."""
    text = "".join((_FOLDER / name).read_text(encoding="utf-8") for name in names)
    return Style(text, base64.b64encode(hashlib.sha256(text.encode()).digest()).decode())


def page_environment() -> jinja2.Environment:
    """Templates beside this module. What is shown is one line, unless `lines` shows it."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
    )
    environment.filters["number"] = lambda value: f"{value:,}"
    environment.filters["lines"] = _lines
    return environment


def shown_line(text: str) -> str:
    """A line of text from outside as it is, but for what would be obeyed; not longer than fits."""
    if len(text) > _LONGEST_LINE:
        text = f"{text[:_LONGEST_LINE]}… ({len(text) - _LONGEST_LINE:,} more characters)"
    return visible_line(text)


def _shown(value: Any) -> Any:
    """What is marked as safe is our own."""
    return value if hasattr(value, "__html__") else shown_line(str(value))


def _lines(value: str) -> markupsafe.Markup:
    """Text with its line ends, escaped, and without what would be obeyed."""
    import markupsafe

    return markupsafe.Markup(markupsafe.escape(visible(value)))  # noqa: S704 (escaped right here)
