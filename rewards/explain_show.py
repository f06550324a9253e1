"""An explanation for the terminal and for a notebook. Knows how it is shown; knows no reward."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rewards.explain_quotes import Quoted, shortened

if TYPE_CHECKING:
    from rewards.explain import Explanation

WIDTH = 110
_COLOURS = {"verbatim": "rgba(40,160,80,.28)", "fuzzy": "rgba(230,160,0,.32)", "missing": "rgba(220,50,50,.26)"}
_LINES = {"verbatim": "none", "fuzzy": "underline dotted", "missing": "underline wavy"}


def as_text(told: Explanation) -> str:
    """Lines of plain text, at most `WIDTH` characters wide where words allow it."""
    return "\n".join(_lines(told))


def _lines(told: Explanation) -> Iterator[str]:
    total = "no part applies" if told.total is None else f"{told.total:.4g} of {told.maximum:.4g}"
    yield f"total: {total}"
    width = max((len(part.name) for part in told.parts), default=0)
    for part in told.parts:
        value = "   none" if part.value is None else f"{part.value:7.3f}"
        worth = "   none" if part.worth is None else f"{part.worth:+7.3f}"
        head = f"  {part.name:<{width}} {value} x {part.weight:<5g} = {worth}  "
        for number, reason in enumerate(part.reasons or ("",)):
            yield from _wrapped(head if number == 0 else " " * len(head), reason)
    if told.quotes:
        yield "quotes:"
        for number, quote in enumerate(told.quotes, 1):
            yield from _wrapped(f"  {number:>2} {quote.kind:<8} ", f"“{shortened(quote.text)}”: {quote.reason}")
    if told.facts:
        yield "labelled evidence:"
        for fact in told.facts:
            where = ", ".join(f"passage {place.passage + 1}" for place in fact.places[:3]) or "nowhere in the passages"
            yield from _wrapped("   ", f"“{shortened(fact.text)}” in {where}")
    if told.sessions:
        start, end = told.sample.time_range or (None, None)
        yield f"sessions (range of the question: {start or 'open'} to {end or 'open'}):"
        for note in told.sessions:
            yield from _wrapped(f"  {'>' if note.selected else ' '} {note.id} {note.date or ''}: ", note.reason)


def _wrapped(head: str, text: str) -> list[str]:
    visible = "".join(char if char.isprintable() else "�" for char in text)  # a completion must not steer a terminal
    room = max(40, WIDTH - len(head))
    lines = textwrap.wrap(visible, room) or [""]
    return [(head if number == 0 else " " * len(head)) + line for number, line in enumerate(lines)]


def as_html(told: Explanation) -> str:
    """One HTML fragment that needs no style sheet and reads on light and dark pages; everything is escaped."""
    total = "no part applies" if told.total is None else f"{told.total:.4g} of {told.maximum:.4g}"
    rows = []
    for part in told.parts:
        cells = (part.name, _number(part.value), f"{part.weight:g}", _number(part.worth))
        numbers = "".join(f"<td>{html.escape(cell)}</td>" for cell in cells)
        rows.append(f"<tr>{numbers}<td style='text-align:left'>{_joined(part.reasons)}</td></tr>")
    head = "".join(f"<th>{name}</th>" for name in ("part", "value", "weight", "adds", "why"))
    parts = [f"<p><b>total: {total}</b></p>", f"<table><tr>{head}</tr>{''.join(rows)}</table>"]
    parts.append(f"<p style='white-space:pre-wrap'>{_marked(told.sample.completion, told.quotes)}</p>")
    if told.quotes:
        listed = (f"<li>{html.escape(quote.kind)}: {html.escape(quote.reason)}</li>" for quote in told.quotes)
        parts.append(f"<ol>{''.join(listed)}</ol>")
    if told.sessions:
        listed = (f"<li>{html.escape(f'{note.id} {note.date or str()}: {note.reason}')}</li>" for note in told.sessions)
        parts.append(f"<ul>{''.join(listed)}</ul>")
    return f"<div>{''.join(parts)}</div>"


def _marked(text: str, quotes: Sequence[Quoted]) -> str:
    pieces = []
    at = 0
    for quote in quotes:
        style = f"background:{_COLOURS[quote.kind]};color:inherit;text-decoration:{_LINES[quote.kind]}"
        inside = html.escape(text[quote.start : quote.end])
        pieces += [
            html.escape(text[at : quote.start]),
            f'<mark style="{style}" title="{html.escape(quote.reason)}">{inside}</mark>',
        ]
        at = quote.end
    return "".join([*pieces, html.escape(text[at:])])


def _joined(reasons: Iterable[str]) -> str:
    return "<br>".join(map(html.escape, reasons))


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
