"""The order in which rows are drawn: a pure function of schedule, source sizes, steps, rows a step and seed.

Knows sources as names and sizes, and rows as numbers. It refuses to know what a row holds, which rank or
worker asks and how far a run has come: ranks, data workers and resumed runs agree because each computes, or
loads, the same plan.
"""

from __future__ import annotations

import hashlib
import json
import random
import sys
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, count, repeat
from typing import NamedTuple, overload

from .names import listed, nearest
from .quota import quotas
from .schedule import LARGEST_SHARE, Schedule

MAX_ROWS = 2**32
"""The largest source: row numbers are kept in four bytes."""

PLAN_FORMAT = "plan 1"
"""Part of every fingerprint: raised when the same arguments come to give another order."""


class Draw(NamedTuple):
    """One row: `index` of `source`, drawn in `step` (all from 0)."""

    step: int
    source: str
    index: int  # type: ignore[assignment]  # the method of the same name, tuple.index, has no use here


@dataclass(frozen=True, repr=False, eq=False)
class Plan(Sequence[Draw]):
    """The draws of a whole run in order, `per_step` of them a step; made by `plan`, never changed.

    A sequence of `Draw`s that takes 6 bytes a draw. Two plans are equal when they draw the same rows of the same
    sources of the same sizes in the same order and steps.
    """

    _sizes: tuple[tuple[str, int], ...]
    per_step: int
    _codes: array[int]
    _rows: array[int]

    @property
    def sizes(self) -> dict[str, int]:
        """The rows of every source, those that are never drawn too, in alphabetical order of the names."""
        return dict(self._sizes)

    @property
    def sources(self) -> tuple[str, ...]:
        """The names of the sources in alphabetical order."""
        return tuple(name for name, _ in self._sizes)

    @property
    def steps(self) -> int:
        """The number of steps."""
        return len(self._codes) // self.per_step

    def __len__(self) -> int:
        return len(self._codes)

    @overload
    def __getitem__(self, place: int) -> Draw: ...
    @overload
    def __getitem__(self, place: slice) -> tuple[Draw, ...]: ...
    def __getitem__(self, place: int | slice) -> Draw | tuple[Draw, ...]:
        if isinstance(place, slice):
            return tuple(self[number] for number in range(*place.indices(len(self))))
        code = self._codes[place]
        return Draw(place % len(self) // self.per_step, self._sizes[code][0], self._rows[place])

    def __iter__(self) -> Iterator[Draw]:
        steps = chain.from_iterable(repeat(step, self.per_step) for step in range(self.steps))
        names = map(self.sources.__getitem__, self._codes)
        return map(Draw, steps, names, self._rows)

    def at(self, step: int) -> tuple[Draw, ...]:
        """The draws of one step. Raises IndexError for a step that the plan does not have.

        >>> from curricula import constant
        >>> order = plan(constant({"easy": 1, "hard": 1}), {"easy": 10, "hard": 10}, steps=5, per_step=2, seed=7)
        >>> sorted(draw.source for draw in order.at(4))
        ['easy', 'hard']
        """
        start = self._start(step)
        return self[start : start + self.per_step]

    def counts(self, step: int) -> dict[str, int]:
        """How many rows of each source one step draws. Raises IndexError as `at` does.

        >>> from curricula import constant
        >>> order = plan(constant({"easy": 3, "hard": 1}), {"easy": 10, "hard": 10}, steps=5, per_step=4, seed=7)
        >>> order.counts(0)
        {'easy': 3, 'hard': 1}
        """
        start = self._start(step)
        return self._tally(start, start + self.per_step)

    def realised(self, step: int | None = None) -> dict[str, int]:
        """How many rows of each source are drawn up to the end of `step`, or in all. Raises IndexError as `at` does.

        >>> from curricula import constant
        >>> order = plan(constant({"easy": 3, "hard": 1}), {"easy": 10, "hard": 10}, steps=5, per_step=4, seed=7)
        >>> order.realised(1), order.realised()
        ({'easy': 6, 'hard': 2}, {'easy': 15, 'hard': 5})
        """
        return self._tally(0, len(self) if step is None else self._start(step) + self.per_step)

    def positions(self, order: Sequence[str] | None = None) -> array[int]:
        """The draws as row numbers in the concatenation of the sources: what `datasets.Dataset.select` takes.

        `order` names every source once, in the order they are concatenated in; alphabetical if not given.
        Raises ValueError for other names.

        >>> from curricula import constant
        >>> order = plan(constant({"a": 1, "b": 1}), {"a": 2, "b": 2}, steps=2, per_step=2, seed=7)
        >>> sorted(order.positions(["b", "a"]))
        [0, 1, 2, 3]
        >>> [(draw.source, draw.index) for draw in order] == [("ab"[row // 2], row % 2) for row in order.positions()]
        True
        """
        order = self.sources if order is None else tuple(order)
        for name in order:
            if name not in self.sources:
                raise ValueError(
                    f"order: {name!r} is not a source of this plan; there are {listed(self.sources)}."
                    + nearest(name, self.sources)
                )
        if sorted(order) != list(self.sources):
            raise ValueError(
                f"order: {listed(order)} is not every source once ({listed(self.sources)}), so row numbers would "
                "point to wrong rows. Name each source that is concatenated, once."
            )
        sizes = self.sizes
        starts = dict(zip(order, accumulate((sizes[name] for name in order), initial=0), strict=False))
        start_of = [starts[name] for name in self.sources]
        return array("Q", (start_of[code] + row for code, row in zip(self._codes, self._rows, strict=True)))

    def fingerprint(self) -> str:
        """A hex digest of the whole plan, the same on every machine: what ranks and resumed runs compare.

        >>> from curricula import constant
        >>> order = plan(constant({"easy": 1}), {"easy": 100}, steps=5, per_step=4, seed=7)
        >>> order.fingerprint()[:16]
        'c80109e3bf433af0'
        """
        header = [PLAN_FORMAT, self._sizes, self.per_step, len(self)]
        digest = hashlib.sha256(json.dumps(header).encode())
        for numbers in (self._codes, self._rows):
            if sys.byteorder == "big":
                numbers = numbers[:]
                numbers.byteswap()
            digest.update(memoryview(numbers))
        return digest.hexdigest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Plan):
            return NotImplemented
        same_shape = (self._sizes, self.per_step) == (other._sizes, other.per_step)
        return same_shape and self._codes == other._codes and self._rows == other._rows

    def __hash__(self) -> int:
        return hash((self._sizes, self.per_step, len(self)))

    def __repr__(self) -> str:
        return f"Plan({self.steps} steps x {self.per_step} rows of {listed(self.sources)}, {self.fingerprint()[:12]})"

    def _start(self, step: int) -> int:
        if not 0 <= step < self.steps:
            raise IndexError(f"step {step} is not in the plan, which has the steps 0 to {self.steps - 1}.")
        return step * self.per_step

    def _tally(self, start: int, stop: int) -> dict[str, int]:
        codes = self._codes[start:stop]
        return {name: codes.count(code) for code, name in enumerate(self.sources)}


def plan(schedule: Schedule, sizes: Mapping[str, int], steps: int, per_step: int, seed: int) -> Plan:
    """The exact draws of a run of `steps` steps with `per_step` rows each; `sizes` are the sources' rows.

    Shares are met by carrying remainders: after every step the rows drawn of each of k sources lie within
    1 - 1/(2k - 2) of the sum of per_step x its share so far (see `quota`); the order inside a step is shuffled. A
    source is drawn in a random order without replacement until it is used up, then in a new order. The same arguments
    give the same plan in any process, Python version and order of the sources; a longer plan whose shares agree begins
    with the shorter one.

    Raises ValueError for sizes that do not name the schedule's sources, for a source with a share and no rows, for
    shares that are negative, not finite or all zero, and for steps or per_step below 1.

    >>> from curricula import linear
    >>> ramp = linear({"easy": 1.0, "hard": 0.0}, {"easy": 0.5, "hard": 0.5})
    >>> order = plan(ramp, {"easy": 100, "hard": 20}, steps=8, per_step=4, seed=7)
    >>> len(order), order[0].source
    (32, 'easy')
    >>> [order.counts(step)["hard"] for step in range(8)]
    [0, 0, 1, 0, 1, 2, 1, 2]
    """
    for name, value in (("steps", steps), ("per_step", per_step)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ValueError(f"{name}: {value!r} is not a whole number of at least 1, so nothing can be drawn.")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise ValueError(f"seed: {seed!r} is not a whole number, so the order could not be repeated. Give one.")
    for name, size in sizes.items():
        if isinstance(size, bool) or not isinstance(size, int) or not 0 <= size <= MAX_ROWS:
            raise ValueError(f"sizes.{name}: {size!r} is no number of rows. Give a whole number from 0 to {MAX_ROWS}.")
    sources = tuple(sorted(sizes))
    order_of = [_row_order(name, sizes[name], seed) for name in sources]
    codes, rows = array("H"), array("I")
    uniform = _uniform("order inside the steps", seed)
    for counts in quotas(_checked_shares(schedule, sizes, sources, steps), per_step):
        step_codes = [code for code, rows_wanted in enumerate(counts) for _ in range(rows_wanted)]
        for last in range(per_step - 1, 0, -1):
            other = int(uniform() * (last + 1))
            step_codes[last], step_codes[other] = step_codes[other], step_codes[last]
        codes.extend(step_codes)
        rows.extend([next(order_of[code]) for code in step_codes])
    return Plan(tuple((name, sizes[name]) for name in sources), per_step, codes, rows)


def _checked_shares(
    schedule: Schedule, sizes: Mapping[str, int], sources: tuple[str, ...], steps: int
) -> Iterator[list[float]]:
    """The shares of every step in the order of `sources`; stops at the first that cannot be drawn."""
    empty = [name for name in sources if sizes[name] == 0]
    for step in range(steps):
        shares = schedule.shares(step, steps)
        for name in shares:
            if name not in sizes:
                raise ValueError(
                    f"sizes: the schedule draws from {name!r}, which has no size; there are {listed(sizes)}."
                    + nearest(name, sizes)
                )
        for name in sources:
            if name not in shares:
                raise ValueError(
                    f"sizes: {name!r} has no share at step {step} of the schedule, which has {listed(shares)}; so it "
                    "is unknown how often it is drawn. Give it a share (0.0 if it is not wanted), or take it out of "
                    "the sizes." + nearest(name, shares)
                )
        row = [shares[name] for name in sources]
        if not (min(row, default=-1) >= 0 and 1 / LARGEST_SHARE < sum(row) < LARGEST_SHARE):
            raise ValueError(
                f"shares: {dict(shares)} at step {step} are not finite numbers >= 0 with one above 0, so no row can be "
                "drawn. Correct the schedule."
            )
        for name in empty:
            if shares[name]:
                raise ValueError(
                    f"sizes.{name}: the source has 0 rows but a share of {shares[name]:g} at step {step}, so there is "
                    "nothing to draw. Give it rows (a condition may have dropped them all), or a share of 0.0 throughout."
                )
        yield row


def _row_order(source: str, size: int, seed: int) -> Iterator[int]:
    """The rows of a source without end: every row once in a random order, then every row once in a new one."""
    for turn in count():
        uniform = _uniform("order in the source", seed, source, turn)
        rows = array("I", range(size))
        for place in range(size):
            other = place + int(uniform() * (size - place))
            rows[place], rows[other] = rows[other], rows[place]
            yield rows[place]


def _uniform(*key: str | int) -> Callable[[], float]:
    """A stream of numbers in [0, 1) that depends on the key alone.

    `random()` is the one method whose stream Python keeps from version to version (`shuffle` is not), and
    `hash()` of a text differs from process to process: so neither of those two.
    """
    digest = hashlib.sha256(json.dumps(key).encode()).digest()
    return random.Random(int.from_bytes(digest, "big")).random
