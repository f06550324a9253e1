"""Named parts with weights, added up to one `Score`.

Knows how parts add up and what happens when one fails; knows no formula of any part and no trainer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from rewards.errors import OutOfTime, RewardError, RowError
from rewards.part import (
    ROW_FIELDS,
    applies_to,
    bounds_of,
    call,
    call_batch,
    check_part,
    is_batch_function,
    is_empty,
    needs_of,
    part_name,
)
from rewards.sample import Sample

if TYPE_CHECKING:
    from rewards.explain import Explanation


@dataclass(frozen=True)
class Score:
    """What one completion earns.

    `parts` holds each part's own value before weighting, `None` where it does not apply; `total` is the weighted sum
    of the others (`None` when no part applies); `maximum` is the most that any completion of this row can earn.
    `errors` is empty unless `on_error="abstain"` turned a failing part into `None`.
    """

    total: float | None
    parts: Mapping[str, float | None]
    maximum: float
    errors: Mapping[str, str] = field(default_factory=dict)
    _source: tuple[Sample, Weighted] | None = field(default=None, repr=False, compare=False)

    def explain(self) -> Explanation:
        """Why it is this score, in words and places: print it, or show it in a notebook (`rewards.explain`).

        Raises `RewardError` for a score that came from another process or was made by hand: it knows no sample.
        """
        from rewards.explain import explain

        if self._source is None:
            raise RewardError(
                "this score does not know what it was given for, because it was made by hand or in another process; call "
                "rewards.explain.explain(sample, reward)."
            )
        return explain(*self._source, self if self.errors else None)

    def __reduce__(self) -> tuple[Any, ...]:  # a score is small where it travels; its sample may hold a whole context
        return Score, (self.total, dict(self.parts), self.maximum, dict(self.errors))


@dataclass(frozen=True)
class Weighted:
    """Named parts with weights; call it with a sample, or `batch` it. Made by `weighted`; immutable and picklable."""

    parts: Mapping[str, Any]
    weights: Mapping[str, float]
    on_error: str = "raise"
    _batched: frozenset[str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("parts", "weights"):  # read-only copies: a run's reward cannot change behind its saved config
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))
        batched = frozenset(name for name, part in self.parts.items() if is_batch_function(part))
        object.__setattr__(self, "_batched", batched)

    def __reduce__(self) -> tuple[Any, ...]:
        return Weighted, (dict(self.parts), dict(self.weights), self.on_error)

    def __call__(self, sample: Sample) -> Score:
        return self.batch([sample])[0]

    def batch(self, samples: Sequence[Sample], **extra: Any) -> list[Score]:
        """One score a sample, in order; `extra` goes to TRL-style batch functions as it is.

        Raises `RowError` when a row lacks a field that a part needs, and `RewardError` naming part and row when a part
        raises, or returns a value that is not finite, or the wrong count. With `on_error="abstain"` the latter become
        `None` with a message in `Score.errors`; a lacking field is bad data, which no completion can repair, and stops.
        """
        judged = {name: [self._judges(name, sample) for sample in samples] for name in self.parts}
        columns = {name: self._column(name, samples, judged[name], extra) for name in self.parts}
        scores = []
        for i in range(len(samples)):
            parts: dict[str, float | None] = {}
            errors: dict[str, str] = {}
            for name, column in columns.items():
                value = column[i]
                if isinstance(value, RewardError):
                    errors[name] = str(value)
                    value = None
                parts[name] = value
            best = [self.weights[name] * self._best(name) for name in self.parts if judged[name][i] is True]
            scores.append(Score(self._total(parts), parts, math.fsum(best), errors, (samples[i], self)))
        return scores

    def of_parts(
        self, sample: Sample, parts: Mapping[str, float | None], errors: Mapping[str, str] | None = None
    ) -> Score:
        """The score of a sample whose parts have been judged elsewhere, each under its name.

        >>> from rewards import exact_match
        >>> weighted(right=(0.5, exact_match())).of_parts(Sample(golds="Rome"), {"right": 1.0}).total
        0.5
        """
        ordered = {name: parts[name] for name in self.parts}
        return Score(self._total(ordered), ordered, self.maximum(sample), dict(errors or {}))

    def maximum(self, sample: Sample) -> float:
        """The most that any completion of this row can earn: the weighted best of every part that applies."""
        return math.fsum(weight * self.best(name, sample) for name, weight in self.weights.items())

    def best(self, name: str, sample: Sample) -> float:
        """The value of one part that earns the most on this row; 0 where the part does not apply and adds nothing."""
        return self._best(name) if self._applies(name, sample) is True else 0.0

    def _best(self, name: str) -> float:
        low, high = bounds_of(self.parts[name])
        return high if self.weights[name] >= 0 else low

    def _total(self, parts: Mapping[str, float | None]) -> float | None:
        # Like TRL's nan-sum: what does not apply adds nothing, and the other weights stay as they are.
        earned = [self.weights[name] * value for name, value in parts.items() if value is not None]
        return math.fsum(earned) if earned else None

    def _column(
        self, name: str, samples: Sequence[Sample], judged: Sequence[bool | RewardError], extra: Mapping[str, Any]
    ) -> Sequence[float | RewardError | None]:
        """One part's outcome for each sample; a `RewardError` stands where the part failed and abstains."""
        part = self.parts[name]
        values: Sequence[Any] = judged
        if name not in self._batched:
            values = [
                self._guard(name, f"row {sample.id or '?'}", call, part, sample) if yes is True else None
                for sample, yes in zip(samples, judged, strict=True)
            ]
        elif True in judged:
            where = f"the batch of {len(samples)} that starts with row {samples[0].id or '?'}"
            values = self._guard(name, where, call_batch, part, samples, extra)
            if isinstance(values, RewardError):
                values = [values] * len(samples)
        # Where the part does not apply (or cannot say whether it does), that stands instead of a value.
        return [value if yes is True else yes or None for value, yes in zip(values, judged, strict=True)]

    def _judges(self, name: str, sample: Sample) -> bool | RewardError:
        """Whether the part applies to the row; raises `RowError` if it does and the row lacks what the part needs."""
        applies = self._applies(name, sample)
        part = self.parts[name]
        lacking = [need for need in needs_of(part) if is_empty(sample, need)]
        if applies is True and lacking:
            has = [field for field in ROW_FIELDS if not is_empty(sample, field)]
            raise RowError(
                f"reward {name!r} ({part_name(part)}) needs {', '.join(lacking)}, but row {sample.id or '?'} has none "
                f"(it has: {', '.join([*has, *sample.columns]) or 'nothing'}); fill it in, rename the column that holds "
                "it, or leave the row out."
            )
        return applies

    def _applies(self, name: str, sample: Sample) -> bool | RewardError:
        part: Any = self.parts[name]
        if not hasattr(part, "applies"):
            return True
        return self._guard(name, f"row {sample.id or '?'}", applies_to, part, sample)

    def _guard(self, name: str, where: str, function: Callable[..., Any], part: Any, *arguments: Any) -> Any:
        """The one place where a failing part is given its name and row, and is raised or handed back."""
        try:
            return function(part, *arguments)
        except (Exception, SystemExit) as error:  # sys.exit in a reward would end the run without a word
            cause = str(error) if isinstance(error, RewardError) else f"{type(error).__name__}: {error}"
            message = f"reward {name!r} ({part_name(part)}) failed on {where}: {cause}"
            if isinstance(error, RowError):
                raise RowError(message) from error
            if self.on_error == "raise":
                raise RewardError(message) from error
            return RewardError(message)
        except OutOfTime as error:  # never an abstention: the rows that follow would have no time at all
            raise RewardError(f"reward {name!r} ({part_name(part)}) failed on {where}: {error}") from error


def weighted(*, on_error: str = "raise", **parts: tuple[float, Any]) -> Weighted:
    """Compose parts under names of the caller's choice: `weighted(accuracy=(0.7, token_f1()), ...)`.

    A part is a `Sample -> float | None` callable or a TRL-style batch function. `on_error="abstain"` turns a part that
    fails into `None` for that row and keeps the message in `Score.errors`. Raises `RewardError` for weights that are
    not finite or all zero, and for parts that cannot be called.

    >>> from rewards import exact_match
    >>> both = weighted(accuracy=(0.9, exact_match()), short=(0.1, lambda sample: float(len(sample.completion) < 9)))
    >>> both(Sample(golds="Rome", completion="<think></think> Answer: Rome")).parts
    {'accuracy': 1.0, 'short': 0.0}
    """
    if on_error not in ("raise", "abstain"):
        raise RewardError(f"on_error is {on_error!r}, but must be 'raise' or 'abstain'.")
    if not parts:
        raise RewardError("no parts given; a reward needs at least one, e.g. accuracy=(1.0, token_f1()).")
    functions: dict[str, Any] = {}
    weights: dict[str, float] = {}
    for name, pair in parts.items():
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise RewardError(f"part {name!r} is {pair!r:.80}, but must be (weight, reward), e.g. (0.7, token_f1()).")
        try:
            weights[name], functions[name] = check_weight(pair[0]), check_part(pair[1])
        except RewardError as error:
            raise RewardError(f"part {name!r}: {error}") from error
        if isinstance(pair[1], Weighted):
            raise RewardError(f"part {name!r} is itself a weighted reward; give its parts one by one.")
    if not any(weights.values()):
        raise RewardError(
            f"all weights are zero ({', '.join(weights)}), so every completion would earn 0; set one above 0."
        )
    return Weighted(functions, weights, on_error)


def check_weight(weight: Any) -> float:
    """The weight as a float; raises `RewardError` unless it is a finite number."""
    if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
        raise RewardError(f"the weight is {weight!r}, but must be a finite number, e.g. 0.7.")
    return float(weight)
