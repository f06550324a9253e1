"""A progress bar on a terminal, a line now and then elsewhere; always on standard error."""

from __future__ import annotations

import sys
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINES = 6  # where there is no terminal


class Bar:
    """A named bar that runs to `total`; use it in a `with` statement."""

    def __init__(self, label: str, total: int) -> None:
        self.label, self.total, self.done = label, total, 0
        self.console = Console(file=sys.stderr)
        text = TextColumn("{task.description}"), BarColumn(20), MofNCompleteColumn(), TimeRemainingColumn()
        self.progress = Progress(*text, TextColumn("{task.fields[note]}"), console=self.console)
        self.task = self.progress.add_task(label, total=total, note="")

    def __enter__(self) -> Bar:
        if self.console.is_terminal:
            self.progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.console.is_terminal:
            self.progress.stop()

    def show(self, done: int, note: str = "") -> None:
        """Move the bar to `done` of its total."""
        every = max(1, self.total // LINES)
        if self.console.is_terminal:
            self.progress.update(self.task, completed=done, note=note)
        elif done // every > self.done // every or done == self.total:
            self.console.print(f"{self.label} {done}/{self.total}  {note}", highlight=False, soft_wrap=True)
        self.done = done

    def advance(self, more: int) -> None:
        self.show(self.done + more)
