"""What a plan will do, as a table to read before training.

Gives data and a plain text. It refuses to know terminals and colours: a caller with a nicer table builds it
from the rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from .names import listed
from .plan import Plan
from .schedule import Piecewise, Schedule


@dataclass(frozen=True)
class StepRow:
    """One step of the plan; each mapping has every source, in the schedule's order."""

    step: int
    planned: dict[str, float]
    """The schedule's share at this step."""
    target: dict[str, float]
    """The schedule's share of all rows up to the end of this step: what `realised` is measured against."""
    realised: dict[str, float]
    """The share of all rows drawn up to the end of this step."""
    drawn: dict[str, int]
    """The rows drawn up to the end of this step."""
    passes: dict[str, float]
    """`drawn` over the source's size: above 1 rows come again."""


@dataclass(frozen=True)
class SourceRow:
    """One source over the whole run."""

    source: str
    size: int
    draws: int
    distinct: int
    """How many different rows are drawn."""
    passes: float


@dataclass(frozen=True)
class Preview:
    """A plan at some of its steps, its sources in total, and what a reader should notice."""

    steps: tuple[StepRow, ...]
    sources: tuple[SourceRow, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        names = [row.source for row in self.sources]
        head = ["step"] + [f"{name} {what}" for name in names for what in ("share", "so far", "rows", "passes")]
        lines = [head]
        for row in self.steps:
            cells = [str(row.step)]
            for name in names:
                cells += [f"{row.planned[name]:.3f}", f"{row.realised[name]:.3f}", str(row.drawn[name])]
                cells.append(f"{row.passes[name]:.2f}")
            lines.append(cells)
        totals = [["source", "size", "draws", "distinct", "passes"]]
        for total in self.sources:
            numbers = [str(total.size), str(total.draws), str(total.distinct), f"{total.passes:.2f}"]
            totals.append([total.source, *numbers])
        return "\n".join([*_aligned(lines), "", *_aligned(totals), *(f"note: {note}" for note in self.notes)])


def preview(plan: Plan, schedule: Schedule, points: int = 8) -> Preview:
    """The plan at about `points` evenly spaced steps, first and last among them, and in total per source.

    `schedule` is the one that the plan was made from. Raises ValueError for fewer than 2 points.

    >>> from curricula import linear, plan
    >>> ramp = linear({"easy": 1.0, "hard": 0.0}, {"easy": 0.5, "hard": 0.5})
    >>> order = plan(ramp, {"easy": 100, "hard": 10}, steps=9, per_step=16, seed=7)
    >>> print(preview(order, ramp, points=3))
    step  easy share  easy so far  easy rows  easy passes  hard share  hard so far  hard rows  hard passes
    0          1.000        1.000         16         0.16       0.000        0.000          0         0.00
    4          0.778        0.887         71         0.71       0.222        0.113          9         0.90
    8          0.556        0.778        112         1.12       0.444        0.222         32         3.20
    <BLANKLINE>
    source  size  draws  distinct  passes
    easy     100    112       100    1.12
    hard      10     32        10    3.20
    """
    if points < 2:
        raise ValueError(f"points: {points} does not hold the first and the last step. Give at least 2.")
    shown = {round(point * (plan.steps - 1) / (points - 1)) for point in range(points)}
    sizes = plan.sizes
    sums = dict.fromkeys(schedule.shares(0, plan.steps), 0.0)
    drawn = dict.fromkeys(sums, 0)
    rows = []
    for step in range(plan.steps):
        shares = schedule.shares(step, plan.steps)
        total = sum(shares.values())
        planned = {name: shares[name] / total for name in sums}
        for name, share in planned.items():
            sums[name] += share
        for name, count in plan.counts(step).items():
            drawn[name] += count
        if step in shown:
            done = step + 1
            rows.append(
                StepRow(
                    step,
                    planned,
                    {name: value / done for name, value in sums.items()},
                    {name: count / (done * plan.per_step) for name, count in drawn.items()},
                    dict(drawn),
                    {name: _passes(count, sizes[name]) for name, count in drawn.items()},
                )
            )
    sources = tuple(
        SourceRow(name, sizes[name], count, min(count, sizes[name]), _passes(count, sizes[name]))
        for name, count in drawn.items()
    )
    return Preview(tuple(rows), sources, _notes(plan, schedule, drawn))


def _notes(plan: Plan, schedule: Schedule, drawn: dict[str, int]) -> tuple[str, ...]:
    notes = []
    never = [name for name, count in drawn.items() if not count]
    if never:
        notes.append(f"never drawn: {listed(never)}. Raise the share, or take the source out.")
    if isinstance(schedule, Piecewise) and schedule.knots[-1].position(plan.steps) > plan.steps:
        notes.append(
            f"the schedule ends at {schedule.knots[-1]}, behind the run's {plan.steps} steps, so its last shares are "
            "never reached. Lower it, or give a fraction of the run."
        )
    return tuple(notes)


def _passes(drawn: int, size: int) -> float:
    return drawn / size if size else 0.0


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    first, *rest = widths
    return [
        "  ".join([line[0].ljust(first), *(cell.rjust(width) for cell, width in zip(line[1:], rest, strict=True))])
        for line in lines
    ]
