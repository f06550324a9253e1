"""Which share of the rows each source has at each step: small frozen objects that pickle.

A schedule knows names and numbers. It refuses to know data sets, their sizes, batches, seeds or the current
step of a run: it is asked `shares(step, steps)` and always gives the same answer.

Steps count from 0. Step 0 has exactly the first shares. With T the horizon, step t has

    share(t) = start + (end - start) * min(t, T) / T

(CARE, arXiv 2509.13683, curriculum formula, for any number of sources). T is the number of steps of the run,
so the last step, T - 1, stops one T-th short of `end`; with `until=T` the end shares hold from step T on.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from numbers import Real
from typing import Any, NamedTuple, Protocol

from .names import listed, nearest

Shares = Mapping[str, float]

CONFIG_KEYS = {
    "linear": {"start": True, "end": True, "until": False},
    "constant": {"shares": True},
    "piecewise": {"knots": True},
}
"""The keys of each kind of `curriculum:`, and whether the key must be there."""

LARGEST_SHARE = 1e100
"""Far from where a sum of shares would overflow."""


class Schedule(Protocol):
    """What `plan` asks of a schedule; any object with this method will do, a cosine of your own too."""

    def shares(self, step: int, steps: int) -> dict[str, float]:
        """The share of every source at `step` of a run of `steps`: the same names each time, none negative."""
        ...


class Knot(NamedTuple):
    """Shares that hold at one point: at a step, or at a fraction of the run (the other one is None)."""

    step: int | None
    fraction: float | None
    shares: tuple[float, ...]

    def position(self, steps: int) -> float:
        """The knot's point in steps; a fraction of 1.0 lies at `steps`, just behind the last step."""
        return self.step if self.step is not None else (self.fraction or 0.0) * steps

    def __str__(self) -> str:
        return f"step {self.step}" if self.step is not None else f"fraction {self.fraction} of the run"


@dataclass(frozen=True)
class Piecewise:
    """Shares that are linear between knots, and hold before the first and after the last one.

    Made by `linear`, `constant` and `piecewise`, which check their input.
    """

    sources: tuple[str, ...]
    knots: tuple[Knot, ...]

    def shares(self, step: int, steps: int) -> dict[str, float]:
        """The share of every source at `step` of a run of `steps`, summing to 1.

        Steps behind the end hold the last shares. Raises ValueError for a negative step, for `steps` below 1,
        and where knots given as steps and as fractions are out of order for this number of steps.

        >>> linear({"easy": 1.0, "hard": 0.0}, {"easy": 0.5, "hard": 0.5}).shares(2, steps=4)
        {'easy': 0.75, 'hard': 0.25}
        """
        if steps < 1 or step < 0:
            raise ValueError(f"step {step} of {steps}: steps count from 0 and a run has at least one; ask within it.")
        positions = [knot.position(steps) for knot in self.knots]
        for (before, left), (after, right) in pairwise(zip(positions, self.knots, strict=True)):
            if before > after:
                raise ValueError(
                    f"knots out of order: {right} comes before {left} in a run of {steps} steps, so the shares "
                    "between them are undefined. A whole number is a step and a decimal number a fraction of the "
                    "run (1 is the second step, 1.0 the end): use one kind throughout, in rising order."
                )
        after_index = bisect_right(positions, step)
        if after_index == 0:
            values = self.knots[0].shares
        elif after_index == len(self.knots):
            values = self.knots[-1].shares
        else:
            earlier, later = self.knots[after_index - 1].shares, self.knots[after_index].shares
            done, span = step - positions[after_index - 1], positions[after_index] - positions[after_index - 1]
            values = tuple(a + (b - a) * done / span for a, b in zip(earlier, later, strict=True))
        return dict(zip(self.sources, values, strict=True))


def linear(start: Shares, end: Shares, until: int | float | None = None) -> Piecewise:
    """Shares that move in a straight line from `start` to `end` (CARE's curriculum: hard share 0 to 0.5).

    The line ends with the run, or at `until` (a step, or a fraction of the run as a decimal number) and then
    holds. Shares are relative: each mapping is scaled to sum 1 first. Raises ValueError for shares that are
    negative, not finite or all zero, for different names in `start` and `end`, and for an `until` not above
    0.

    >>> schedule = linear({"drop": 1.0, "ms_marco": 0.0}, {"drop": 0.5, "ms_marco": 0.5}, until=100)
    >>> schedule.shares(50, steps=1000)
    {'drop': 0.75, 'ms_marco': 0.25}
    >>> schedule.shares(100, steps=1000) == schedule.shares(999, steps=1000) == {"drop": 0.5, "ms_marco": 0.5}
    True
    """
    sources, first = _normalised(start, "start")
    _, last = _normalised(end, "end", sources)
    horizon = _knot(1.0 if until is None else until, last, "until")
    if not horizon.position(1):
        raise ValueError(
            f"until: {until} leaves no steps between the start and the end shares, so nothing would move. Give a "
            "step above 0, or a fraction of the run above 0.0; for shares that never move use `constant`."
        )
    return Piecewise(sources, (Knot(0, None, first), horizon))


def constant(shares: Shares) -> Piecewise:
    """The same shares at every step. Raises ValueError for shares that are negative, not finite or all zero.

    >>> constant({"easy": 3, "hard": 1}).shares(7, steps=10)
    {'easy': 0.75, 'hard': 0.25}
    """
    sources, values = _normalised(shares, "shares")
    return Piecewise(sources, (Knot(0, None, values),))


def piecewise(knots: Sequence[tuple[int | float, Shares]]) -> Piecewise:
    """Shares that are linear between knots `(point, shares)`, for stages and warm-ups.

    A whole number is a step, a decimal number from 0.0 to 1.0 a fraction of the run. Shares hold before the
    first and after the last knot; two knots at one point make a jump. Raises ValueError as `linear` does, and
    for knots that fall.

    >>> easy, mixed = {"easy": 1, "hard": 0}, {"easy": 1, "hard": 1}
    >>> warm_up = piecewise([(0.2, easy), (0.6, mixed)])
    >>> [warm_up.shares(step, steps=10)["hard"] for step in (0, 2, 4, 6, 9)]
    [0.0, 0.0, 0.25, 0.5, 0.5]
    >>> stages = piecewise([(0, easy), (3, easy), (3, mixed)])
    >>> [stages.shares(step, steps=10)["hard"] for step in (2, 3)]
    [0.0, 0.5]
    """
    if isinstance(knots, (str, Mapping)) or not isinstance(knots, Sequence) or not knots:
        raise ValueError(
            f"knots: {knots!r} is not a list of [point, shares] pairs, so there is nothing to follow. Give at least "
            "one, such as [0.0, {easy: 1.0, hard: 0.0}]."
        )
    made: list[Knot] = []
    sources: tuple[str, ...] | None = None
    for number, pair in enumerate(knots):
        path = f"knots[{number}]"
        if isinstance(pair, (str, Mapping)) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise ValueError(
                f"{path}: {pair!r} is not a [point, shares] pair, so it says either no place or no shares. Write it "
                "as [0.5, {easy: 1.0, hard: 0.0}]."
            )
        sources, values = _normalised(pair[1], path, sources)
        knot = _knot(pair[0], values, path)
        for earlier in made:
            same_kind = (earlier.step is None) == (knot.step is None)
            if same_kind and knot.position(1) < earlier.position(1):
                raise ValueError(
                    f"{path}: {knot} comes after {earlier}, so the shares between them are undefined. List the knots "
                    "in rising order."
                )
        made.append(knot)
    return Piecewise(sources or (), tuple(made))


def from_config(config: Mapping[str, Any] | None, sources: Iterable[str]) -> Piecewise:
    """The schedule that the key `curriculum:` of a run's config describes, for the sources that the config
    has.

    `config` is `{kind: linear, start: {...}, end: {...}}` (with `until`, if wanted), `{kind: constant,
    shares: {...}}` or `{kind: piecewise, knots: [[point, {...}], ...]}`; every source has to be named, with
    share 0 where it is not wanted. None is allowed for a single source, which then has every row. Raises
    ValueError that starts with the config path.

    >>> from_config({"kind": "constant", "shares": {"easy": 3, "hard": 1}}, ["easy", "hard"]).shares(0, steps=1)
    {'easy': 0.75, 'hard': 0.25}
    >>> from_config({"kind": "constant", "shares": {"easy": 3, "hrad": 1}}, ["easy", "hard"])
    Traceback (most recent call last):
    ValueError: curriculum.shares: 'hrad' is not a source; there are 'easy', 'hard'. Did you mean 'hard'?
    """
    sources = tuple(sources)
    if config is None:
        if len(sources) == 1:
            return constant({sources[0]: 1.0})
        raise ValueError(
            f"curriculum: missing, while there are {len(sources)} sources ({listed(sources)}), so their shares are "
            "unknown. Add one, such as {kind: constant, shares: {" + ", ".join(f"{s}: 1" for s in sources) + "}}."
        )
    if not isinstance(config, Mapping):
        raise ValueError(
            f"curriculum: {config!r} is not a mapping, so it names no schedule. Write "
            "{kind: linear, start: {...}, end: {...}}."
        )
    keys = _config_keys(config)
    for path, shares in _config_shares(config):
        _check_sources(shares, sources, f"curriculum.{path}")
    make = {"linear": linear, "constant": constant, "piecewise": piecewise}[config["kind"]]
    try:
        return make(**{key: config[key] for key in keys if key in config})  # type: ignore[operator]
    except ValueError as error:
        raise ValueError(f"curriculum.{error}") from None


def _config_keys(config: Mapping[str, Any]) -> dict[str, bool]:
    kind = config.get("kind")
    if not isinstance(kind, str) or kind not in CONFIG_KEYS:
        raise ValueError(
            f"curriculum.kind: {kind!r} is not a kind of schedule; there are {listed(CONFIG_KEYS)}."
            + nearest(kind, CONFIG_KEYS)
        )
    keys = CONFIG_KEYS[kind]
    for key in config:
        if key != "kind" and key not in keys:
            raise ValueError(
                f"curriculum.{key}: a {kind} schedule has no such key, so it would have no effect; it has "
                f"{listed(keys)}." + nearest(key, keys)
            )
    for key, needed in keys.items():
        if needed and key not in config:
            raise ValueError(f"curriculum.{key}: missing; a {kind} schedule cannot be made without it. Add it.")
    return keys


def _config_shares(config: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """The share mappings of a config with their paths; what has another shape is left to the constructors to
    refuse.
    """
    found = [(key, config[key]) for key in ("start", "end", "shares") if key in config]
    knots = config.get("knots", [])
    if isinstance(knots, list):
        pairs = [(f"knots[{n}]", k) for n, k in enumerate(knots) if isinstance(k, (list, tuple)) and len(k) == 2]
        found += [(path, pair[1]) for path, pair in pairs]
    return [(path, shares) for path, shares in found if isinstance(shares, Mapping)]


def _check_sources(shares: Mapping[Any, Any], sources: tuple[str, ...], path: str) -> None:
    for name in shares:
        if name not in sources:
            known = f"there are {listed(sources)}.{nearest(name, sources)}"
            raise ValueError(f"{path}: {name!r} is not a source; {known}")
    for name in sources:
        if name not in shares:
            raise ValueError(
                f"{path}: {name!r} is among the sources but has no share here, so it is unknown how often it is "
                f"drawn. Add {name}: 0.0 if it is not wanted, or take the source out."
            )


def _normalised(
    shares: Shares, path: str, sources: tuple[str, ...] | None = None
) -> tuple[tuple[str, ...], tuple[float, ...]]:
    """Names and shares scaled to sum 1, in the order of `sources` where it is given."""
    if not isinstance(shares, Mapping) or not shares:
        raise ValueError(
            f"{path}: {shares!r} is not a mapping of source names to shares, so no row could be drawn. Write "
            "{easy: 1.0, hard: 0.0}."
        )
    for name, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, Real) or not 0 <= share <= LARGEST_SHARE:
            raise ValueError(
                f"{path}.{name}: {share!r} is not a finite number from 0 to {LARGEST_SHARE:g}, so it is no share of the "
                "rows. Give a share such as 0.5; 0 means that the source is not drawn."
            )
    if not any(shares.values()):
        raise ValueError(
            f"{path}: every share is 0 ({listed(shares)}), so no row could be drawn. Give one source a share above 0."
        )
    if sources is None:
        sources = tuple(shares)
    else:
        _check_sources(shares, sources, path)
    values = [float(shares[name]) for name in sources]
    total = math.fsum(values)
    return sources, tuple(value / total for value in values)


def _knot(point: int | float, shares: tuple[float, ...], path: str) -> Knot:
    if isinstance(point, int) and not isinstance(point, bool) and point >= 0:
        return Knot(point, None, shares)
    if isinstance(point, float) and 0.0 <= point <= 1.0:
        return Knot(None, point, shares)
    raise ValueError(
        f"{path}: {point!r} is neither a step (a whole number >= 0) nor a fraction of the run (a decimal number from "
        "0.0 to 1.0), so it is no place in the run. Give one of the two."
    )
