"""The terminal that tables are printed on, plain and wide where the output is piped. Knows no table."""

from __future__ import annotations

from typing import NoReturn

from rich.console import Console


class _Console(Console):
    """Ends like any other program when the reader, e.g. `head`, has gone; rich's own would end with code 1 and no word."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def standard_output(piped_width: int = 160) -> Console:
    """Standard output; where it is piped, so wide that no cell of a table is folded."""
    made = _Console(highlight=False)
    return made if made.is_terminal else _Console(highlight=False, width=piped_width)
