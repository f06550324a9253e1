"""How many rows of each source every step draws, so that the shares are met at every step and not just on
average.

Knows numbers alone: no names, no rows, no seed. Nothing here is random.

The k sources and their shares form Tijdeman's *chairman assignment problem* (R. Tijdeman, Discrete
Mathematics 32, 1980, 323-330): for any shares that sum to 1 at each draw, changing or not, there is an order
of draws in which the number drawn from every source stays within 1 - 1/(2k - 2) of the sum of its shares. No
smaller bound holds for all shares. Rounding the cumulative targets by largest remainder breaks this for k >
2: a count may then have to fall.

With C the cumulative target of a source and d = 1/(2k - 2), the bound says that the count after each step is
at least ceil(C - 1 + d) and at most floor(C + 1 - d). So the source's j-th row has a first step (where the
upper bound reaches j) and a last one (where the lower bound does). Rows with windows on machines that take a
fixed number per step are what earliest-deadline-first solves whenever a solution exists (G. Steiner and S.
Yeomans, Management Science 39, 1993, 728-735), and Tijdeman's theorem says that one does.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from math import fsum, inf

SHARE_BITS = 60
"""Shares are rounded to integers of this size: a float has 53, so nothing is lost and sums are exact."""


def quotas(shares: Iterable[Sequence[float]], per_step: int) -> Iterator[list[int]]:
    """Rows to draw from each source, step for step, given every source's share at every step.

    `shares` gives one sequence of k shares a step (none negative, not all zero); each list that comes back
    has k counts that sum to `per_step`. After every step the count of each source, cumulated, lies within 1 -
    1/(2k - 2) of per_step x the cumulated shares (exactly on it for k = 1). The steps are looked at as a
    whole before the first list comes.

    >>> list(quotas([[0.5, 0.5]] * 4, per_step=3))
    [[2, 1], [1, 2], [2, 1], [1, 2]]
    >>> list(quotas([[1.0, 0.0], [0.75, 0.25], [0.5, 0.5], [0.25, 0.75]], per_step=2))
    [[2, 0], [2, 0], [1, 1], [0, 2]]
    """
    windows = _Windows(shares, per_step)
    drawn = [0] * len(windows.sums)
    for step in range(windows.steps):
        sums = [column[step] for column in windows.sums]
        count = [max(before, both // 2) for before, both in zip(drawn, sums, strict=True)]
        spare = per_step * (step + 1) - sum(count)
        if spare:
            allowed = [source for source, both in enumerate(sums) if count[source] < (both + 1) // 2]
            if len(allowed) > spare:
                due = {source: windows.deadline(source, count[source] + 1) for source in allowed}
                allowed.sort(key=due.__getitem__)
            for source in allowed[:spare]:
                count[source] += 1
        yield [now - before for now, before in zip(count, drawn, strict=True)]
        drawn = count


class _Windows:
    """For each source and step the lowest and the highest cumulative count allowed, kept as their sum.

    The two differ by at most one, so the sum holds both: lowest = sum // 2, highest = (sum + 1) // 2. All in
    integers, in units of one row / (q << SHARE_BITS) with q = 1 / d, so that no bound is missed by a
    rounding.
    """

    def __init__(self, shares: Iterable[Sequence[float]], per_step: int) -> None:
        self.sums: list[array[int]] = []
        self.steps = 0
        for row in shares:
            if not self.steps:
                self.sums = [array("Q") for _ in row]
                self.targets = [0] * len(row)
                self.slack = 1 << SHARE_BITS
                self.unit = max(2 * len(row) - 2, 2) * self.slack
            scale = self.unit / fsum(row)  # not sum(), which rounds differently from Python 3.12 on
            parts = [int(share * scale) for share in row]
            parts[parts.index(max(parts))] += self.unit - sum(parts)
            self.rates = [part * per_step for part in parts]
            self.targets = [target + rate for target, rate in zip(self.targets, self.rates, strict=True)]
            for column, target in zip(self.sums, self.targets, strict=True):
                column.append((target + self.slack - 1) // self.unit + (target + self.unit - self.slack) // self.unit)
            self.steps += 1

    def deadline(self, source: int, count: int) -> float:
        """The step at whose end the source must have `count` rows.

        Behind the last step its shares are taken to go on: a longer run whose shares do go on so has the same
        beginning.
        """
        column = self.sums[source]
        if column[-1] >= 2 * count:
            return bisect_left(column, 2 * count)
        if not self.rates[source]:
            return inf
        missing = count * self.unit - self.slack + 1 - self.targets[source]
        return self.steps + (missing - 1) // self.rates[source]
