"""What an audit found: a line for each honest attempt and each cheat, as a table, as JSON, and in words.

Knows outcomes; knows neither rows nor how they were computed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rewards.exploits import Outcome

MAX_SHOWN_CHARS = 300


@dataclass
class Mean:
    """A running mean of what attempts earned, and of what honest attempts of equal correctness did."""

    attempts: int = 0
    earned: float = 0.0
    honest: float = 0.0

    def add(self, other: Mean) -> None:
        self.attempts += other.attempts
        self.earned += other.earned
        self.honest += other.honest

    def to_dict(self) -> dict[str, float] | None:
        if not self.attempts:
            return None
        return {"earned": self.earned / self.attempts, "honest": self.honest / self.attempts, "attempts": self.attempts}


@dataclass
class Line:
    """What one exploit or honest attempt earned over all rows; `pays` counts the rows on which it must not."""

    name: str
    task: str
    cheat: bool
    rows: int = 0
    pays: int = 0
    most: float = -float("inf")
    right: Mean = field(default_factory=Mean)
    other: Mean = field(default_factory=Mean)
    worst: Outcome | None = None

    def see(self, outcomes: Sequence[Outcome]) -> None:
        """Take in what it earned on one row."""
        self.rows += 1
        self.pays += any(outcome.pays for outcome in outcomes)
        for outcome in outcomes:
            mean = self.right if outcome.attempt.right == 1.0 else self.other
            mean.add(Mean(1, outcome.earned, outcome.honest))
            self.most = max(self.most, outcome.earned)
            self._keep(outcome)

    def add(self, other: Line) -> None:
        self.rows += other.rows
        self.pays += other.pays
        self.most = max(self.most, other.most)
        self.right.add(other.right)
        self.other.add(other.other)
        if other.worst is not None:
            self._keep(other.worst)

    def _keep(self, outcome: Outcome) -> None:
        # Where one must not be, it is the one to show, however small its margin is.
        key = (outcome.pays, outcome.margin)
        if self.worst is None or key > (self.worst.pays, self.worst.margin):
            self.worst = outcome

    def to_dict(self) -> dict[str, Any]:
        found: dict[str, Any] = {"name": self.name, "task": self.task, "rows": self.rows, "pays_on_rows": self.pays}
        if self.worst is not None:
            worst = self.worst
            found |= {
                "most_earned": self.most,
                "right": self.right.to_dict(),
                "not_right": self.other.to_dict(),
                "worst": {
                    "margin": worst.margin,
                    "row": worst.row,
                    "earned": worst.earned,
                    "honest": worst.honest,
                    "right_answer_earns": worst.right_earns,
                    "parts": dict(worst.parts),
                    "right": worst.attempt.right,
                    "evidence": worst.attempt.evidence,
                    "completion": worst.attempt.completion,
                },
            }
        return found


@dataclass
class Report:
    """What an audit found: a line for each honest attempt and each cheat, in the battery's order."""

    rows: int
    lines: list[Line]

    @property
    def findings(self) -> list[Line]:
        """The cheats that pay, and the wrong answers that earn as much as right ones."""
        return [line for line in self.lines if line.pays]

    @property
    def attempts(self) -> int:
        return sum(line.right.attempts + line.other.attempts for line in self.lines)

    def to_dict(self) -> dict[str, Any]:
        return {
            "rows": self.rows,
            "attempts": self.attempts,
            "passes": not self.findings,
            "honest": [line.to_dict() for line in self.lines if not line.cheat],
            "cheats": [line.to_dict() for line in self.lines if line.cheat],
        }


def show(audited: str, source: str, report: Report) -> None:
    from rich.table import Table

    from rlkit.console import standard_output

    console = standard_output()
    console.print(f"{audited} on {report.rows:,} rows ({source}): {report.attempts:,} completions", markup=False)
    heads = ("", "rows", "right answer", "honest", "other answer", "honest", "most", "worst margin", "on row")
    for task in dict.fromkeys(line.task for line in report.lines):
        table = Table(*heads, title=f"{task}: mean of what is earned, beside what honesty of equal correctness earns")
        table.title_justify = "left"
        for column in table.columns[1:8]:
            column.justify, column.no_wrap = "right", True
        lines = [line for line in report.lines if line.task == task]
        for cheat in (False, True):
            for line in (line for line in lines if line.cheat is cheat):
                table.add_row(*_cells(line), style="red" if line.pays else None)
            table.add_section()
        console.print(table)
    for line in report.findings:
        _show_finding(console, line)
    if not report.findings:
        console.print("no cheat earns more than an honest attempt of equal correctness")


def _cells(line: Line) -> list[str]:
    if line.worst is None:
        return [line.name, "0", *["-"] * 6, "cannot be built here"]
    right, other = (
        ("-", "-")
        if not mean.attempts
        else (_figure(mean.earned / mean.attempts), _figure(mean.honest / mean.attempts))
        for mean in (line.right, line.other)
    )
    if not line.cheat:
        right, other = (right[0], ""), (other[0], "")
    margin = _figure(line.worst.margin, sign=True) if line.cheat or line.pays else ""
    row = line.worst.row if line.cheat or line.pays else ""
    return [line.name, f"{line.rows:,}", *right, *other, _figure(line.most), margin, row]


def _show_finding(console: Any, line: Line) -> None:
    worst = line.worst
    if worst is None:
        return
    what, least = "an honest attempt of equal correctness", worst.honest
    if worst.as_good_as_right:
        what, least = "the right answer with as good evidence", worst.right_earns
    parts = ", ".join(f"{name} {'-' if value is None else _figure(value)}" for name, value in worst.parts.items())
    completion = worst.attempt.completion
    shown = completion if len(completion) <= MAX_SHOWN_CHARS else f"{completion[:MAX_SHOWN_CHARS]} ..."
    console.print(
        f"\n{line.name} pays on {line.pays:,} of {line.rows:,} rows: it earns {_figure(worst.earned)}, {what} "
        f"{_figure(least)}\n  row {worst.row}: {parts}\n  {shown}",
        markup=False,
        soft_wrap=True,
    )


def _figure(value: float, sign: bool = False) -> str:
    value = 0.0 if abs(value) < 5e-4 else value  # no "-0.000"
    return f"{value:+.3f}" if sign else f"{value:.3f}"
