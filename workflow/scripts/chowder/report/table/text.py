"""Text as a part of Markdown: what somebody called a centre or a file stays text, whatever is in it."""

from __future__ import annotations

import re
from collections.abc import Sequence


def literal(text: str) -> str:
    """Return ``text`` on one line, with a backslash or entity before all that Markdown would take for more than text.

    HTML, links, images, code, emphasis, formulas and the bars of tables; "< 0.001" and "[0.8, 0.9]" stay as they are.
    """
    text = " ".join(text.split())
    text = re.sub(r"\\(?=[!-/:-@\[-`{-~])", r"\\\\", text)
    text = re.sub(r"&(?=#?\w+;)", "&amp;", text)
    text = re.sub(r"<(?=[A-Za-z/!?])", "&lt;", text)
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", r"\\_", text)
    return re.sub(r"[|`*$~]|\](?=[(\[:])", r"\\\g<0>", text)


def pipe(cells: Sequence[str]) -> str:
    """Return one line of a table in GitHub Markdown. The cells are Markdown already."""
    return "| " + " | ".join(cells) + " |"
