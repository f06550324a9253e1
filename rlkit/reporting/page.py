"""The HTML file: skeleton, style, scripts and data, sealed by a content security policy.

The policy names each script by its hash and forbids everything else, requests too, so a completion that were to become
markup could still do nothing. Knows no run.
"""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from rlkit.reporting.blobs import element

HERE = Path(__file__).parent
SCRIPTS = ("text.js", "data.js", "charts.js", "overview.js", "detail.js", "timeline.js", "browser.js", "main.js")
STYLES = ("vendor/uPlot.min.css", "report.css")
GENERATOR = "rlkit report"


def page(title: str, report: Any, index: Any, pages: Iterable[str]) -> Iterator[str]:
    """The file in pieces, so that a large one is written without being held; `pages` are elements with data."""
    style = "\n".join(_text(name) for name in STYLES)
    library = _text("vendor/uPlot.iife.min.js")
    program = '"use strict";\n' + "\n".join(_text(name) for name in SCRIPTS)
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src {_hash(library)} {_hash(program)}",
            f"style-src {_hash(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        )
    )
    skeleton = _text("page.html")
    head, body = skeleton.split("{{data}}")
    head = head.replace("{{policy}}", policy).replace("{{generator}}", GENERATOR).replace("{{style}}", style)
    yield head.replace("{{title}}", html.escape(title))  # last: what it holds is replaced by nothing
    yield element("report", report)
    yield element("index", index)
    yield from pages
    yield body.replace("{{library}}", library).replace("{{program}}", program)


def is_report(path: Path) -> bool:
    """Whether a file was written by `page`, so that a report may take the place of an older one and of nothing else."""
    with path.open("rb") as file:
        return f'<meta name="generator" content="{GENERATOR}">'.encode() in file.read(2000)


def _text(name: str) -> str:
    return (HERE / name).read_text(encoding="utf-8").strip()


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
