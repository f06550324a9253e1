"""A table of names and figures, as text for a terminal and as Markdown.

Knows widths and markup; refuses to know what the figures are of.
"""

from __future__ import annotations

import io
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

_FRAME = 3  # characters between two columns
PIPE_WIDTH, LEAST_WIDTH = 160, 60  # characters a line
NAMES_SHARE = 4  # a column of names is broken where it takes more than this part of a terminal
_MARKDOWN = {ord(mark): f"\\{mark}" for mark in "\\|*_<>`"} | {ord("\n"): " "}


@dataclass(frozen=True)
class Table:
    """A table ready to be printed; `data` holds the same figures as plain values for JSON.

    The first `names` columns hold text, the others numbers.
    """

    title: str
    header: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]
    names: int
    notes: tuple[str, ...]
    data: Mapping[str, Any]


def text(table: Table, width: int | None = None) -> str:
    """The table for a terminal of `width` characters; one that is wider is printed in parts, each with the names.

    Without a width, that of the terminal, or 160 where there is none.
    """
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    width = max(LEAST_WIDTH, shutil.get_terminal_size((PIPE_WIDTH, 0)).columns) if width is None else width
    file = io.StringIO()
    console = Console(file=file, width=width, color_system=None)
    for number, part in enumerate(_parts(table, width)):
        shown = RichTable(title=Text(table.title) if number == 0 else None, title_justify="left")
        tight = 1 + sum(_width(table, column, whole=True) + _FRAME for column in part) > width
        for column in part:
            justify: Literal["left", "right"] = "left" if column < table.names else "right"
            # Left to itself, rich narrows the widest columns until names and intervals break or a column is lost.
            exact = _shown_width(table, column, width) if tight else None
            shown.add_column(Text(table.header[column]), justify=justify, overflow="fold", width=exact)
        for row in table.body:
            shown.add_row(*(Text(row[column]) for column in part))
        console.print(shown)
    for note in table.notes:
        console.print(Text(note))
    return file.getvalue()


def _parts(table: Table, width: int) -> list[list[int]]:
    """Which columns stand beside one another: as many as fit, behind the names."""
    names = list(range(table.names))
    free = width - 1 - sum(_shown_width(table, column, width) + _FRAME for column in names)
    parts: list[list[int]] = [[]]
    used = 0
    for column in range(table.names, len(table.header)):
        needed = _shown_width(table, column, width) + _FRAME
        if parts[-1] and used + needed > free:
            parts.append([])
            used = 0
        parts[-1].append(column)
        used += needed
    return [names + part for part in parts]


def _shown_width(table: Table, column: int, width: int) -> int:
    """The characters that a column gets where room is scarce; a column of names is broken at a part of the terminal."""
    least = _width(table, column)
    return min(least, width // NAMES_SHARE) if column < table.names else least


def _width(table: Table, column: int, whole: bool = False) -> int:
    """The characters that a column needs: its longest line, and the longest word of its title, or the `whole` of it."""
    lines = [line for row in table.body for line in row[column].split("\n")]
    title = table.header[column]
    return max(map(len, [*lines, *([title] if whole else title.split())]), default=1)


def markdown(table: Table) -> str:
    """The table in Markdown; what would be markup in a name is escaped.

    >>> print(markdown(Table("T", ("model", "EM"), (("a|b", "50.0"),), 1, (), {})))
    **T**
    <BLANKLINE>
    | model | EM |
    |---|--:|
    | a\\|b | 50.0 |
    <BLANKLINE>
    """
    rules = ["---" if number < table.names else "--:" for number in range(len(table.header))]
    lines = [
        f"**{_escaped(table.title)}**",
        "",
        _line(table.header),
        f"|{'|'.join(rules)}|",
        *map(_line, table.body),
        "",
    ]
    for note in table.notes:
        lines += [_escaped(note), ""]
    return "\n".join(lines)


def _line(row: Iterable[str]) -> str:
    return f"| {' | '.join(map(_escaped, row))} |"


def _escaped(value: str) -> str:
    return value.translate(_MARKDOWN)
