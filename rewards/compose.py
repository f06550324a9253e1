"""Rewards as named, weighted parts: `Sample -> float | None` each, one `Score` together.

Knows what a part is and how parts add up; knows no formula of any part and no trainer.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from rewards.errors import RewardError
from rewards.sample import Sample

F = TypeVar("F", bound=Callable[..., Any])


class Part(Protocol):
    """A reward: a number for a sample, or `None` where it does not apply."""

    def __call__(self, sample: Sample) -> float | None: ...


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


def reward(
    function: F | None = None,
    *,
    needs: Sequence[str] = (),
    bounds: tuple[float, float] = (0.0, 1.0),
    applies: Callable[[Sample], bool] | None = None,
) -> Any:
    """Tag a function as a reward part and return it unchanged, so that it pickles and tests as the plain function.

    `needs` names the fields (or columns) that a row must have, else scoring stops with an error that names the row;
    `bounds` are the least and the greatest value; `applies` says whether a row can be judged at all, whatever the
    completion.

    >>> @reward(needs=("golds",))
    ... def shouts(sample: Sample) -> float | None:
    ...     return float(sample.completion.isupper())
    >>> shouts(Sample(completion="YES")), shouts.needs
    (1.0, ('golds',))
    """

    def tag(target: F) -> F:
        _check_bounds(target, bounds)
        target.needs = tuple(needs)  # type: ignore[attr-defined]
        target.bounds = bounds  # type: ignore[attr-defined]
        if applies is not None:
            target.applies = applies  # type: ignore[attr-defined]
        return target

    return tag if function is None else tag(function)


def is_batch_function(part: Any) -> bool:
    """Whether a callable has TRL's form `(prompts, completions, **columns) -> list[float | None]`.

    >>> def trl_style(completions, **columns): return [1.0 for _ in completions]
    >>> is_batch_function(trl_style)
    True
    """
    target = part if inspect.isroutine(part) or inspect.isclass(part) else type(part).__call__
    try:
        return "completions" in inspect.signature(target).parameters
    except (TypeError, ValueError):
        return False


@dataclass(frozen=True)
class for_task:
    """A part that applies to the rows of one task only, so that one run can hold several tasks.

    >>> from rewards import exact_match
    >>> for_task("care", exact_match()).applies(Sample(task="memory_t1", golds="B"))
    False
    """

    task: str
    part: Any

    @property
    def needs(self) -> tuple[str, ...]:
        return tuple(getattr(self.part, "needs", ()))

    @property
    def bounds(self) -> tuple[float, float]:
        return _bounds(self.part)

    def applies(self, sample: Sample) -> bool:
        return sample.task == self.task and _applies(self.part, sample)

    def __call__(self, sample: Sample) -> float | None:
        return self.part(sample) if sample.task == self.task else None


@dataclass(frozen=True)
class Weighted:
    """Named parts with weights; call it with a sample, or `batch` it. Made by `weighted`."""

    parts: Mapping[str, Any]
    weights: Mapping[str, float]
    on_error: str = "raise"

    def __call__(self, sample: Sample) -> Score:
        return self.batch([sample])[0]

    def batch(self, samples: Sequence[Sample], **extra: Any) -> list[Score]:
        """One score a sample, in order; `extra` goes to TRL-style batch functions as it is.

        Raises `RewardError` naming part and row when a part raises, returns NaN or the wrong count, or a row lacks a
        field that the part needs.
        """
        values: dict[str, list[float | None]] = {}
        errors: list[dict[str, str]] = [{} for _ in samples]
        for name, part in self.parts.items():
            values[name] = self._column(name, part, samples, errors, extra)
        return [
            Score(self._total(row), row, self.maximum(sample), error)
            for sample, error, row in (
                (sample, errors[i], {name: column[i] for name, column in values.items()})
                for i, sample in enumerate(samples)
            )
        ]

    def maximum(self, sample: Sample) -> float:
        """The most that any completion of this row can earn: the weighted best of every part that applies."""
        best = 0.0
        for name, part in self.parts.items():
            if _applies(part, sample):
                best += max(self.weights[name] * bound for bound in _bounds(part))
        return best

    def _total(self, row: Mapping[str, float | None]) -> float | None:
        # Like TRL's nan-sum: what does not apply adds nothing, and the other weights stay as they are.
        earned = [self.weights[name] * value for name, value in row.items() if value is not None]
        return math.fsum(earned) if earned else None

    def _column(
        self,
        name: str,
        part: Any,
        samples: Sequence[Sample],
        errors: list[dict[str, str]],
        extra: Mapping[str, Any],
    ) -> list[float | None]:
        if is_batch_function(part):
            return self._batch_column(name, part, samples, errors, extra)
        column: list[float | None] = []
        for i, sample in enumerate(samples):
            try:
                value = _call(name, part, sample)
            except RewardError as error:
                if self.on_error == "raise":
                    raise
                errors[i][name] = str(error)
                value = None
            column.append(value)
        return column

    def _batch_column(
        self,
        name: str,
        part: Any,
        samples: Sequence[Sample],
        errors: list[dict[str, str]],
        extra: Mapping[str, Any],
    ) -> list[float | None]:
        try:
            return _call_batch(name, part, samples, extra)
        except RewardError as error:
            if self.on_error == "raise":
                raise
            for row in errors:
                row[name] = str(error)
            return [None] * len(samples)


def weighted(*, on_error: str = "raise", **parts: tuple[float, Any]) -> Weighted:
    """Compose parts under names of the caller's choice: `weighted(accuracy=(0.7, token_f1()), ...)`.

    A part is a `Sample -> float | None` callable or a TRL-style batch function. `on_error="abstain"` turns a part that
    fails into `None` for that row and keeps the message in `Score.errors`. Raises `RewardError` for weights that are
    not finite or all zero, and for parts that cannot be called.

    >>> from rewards import exact_match
    >>> both = weighted(accuracy=(0.9, exact_match()), short=(0.1, lambda sample: float(len(sample.completion) < 9)))
    >>> both(Sample(golds="Rome", completion="Answer: Rome", task="care")).parts
    {'accuracy': 1.0, 'short': 0.0}
    """
    if on_error not in ("raise", "abstain"):
        raise RewardError(f"on_error is {on_error!r}, but must be 'raise' or 'abstain'.")
    if not parts:
        raise RewardError("no parts given; a reward needs at least one, e.g. accuracy=(1.0, token_f1()).")
    functions: dict[str, Any] = {}
    weights: dict[str, float] = {}
    for name, pair in parts.items():
        if not isinstance(pair, Sequence) or len(pair) != 2:
            raise RewardError(f"part {name!r} is {pair!r:.80}, but must be (weight, reward), e.g. (0.7, token_f1()).")
        weight, part = pair
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not math.isfinite(weight):
            raise RewardError(f"part {name!r} has weight {weight!r}, but weights must be finite numbers.")
        if not callable(part):
            raise RewardError(
                f"part {name!r} is {part!r:.80}, which cannot be called; give a function or a reward object."
            )
        if inspect.isclass(part):
            raise RewardError(f"part {name!r} is the class {part.__name__}, not a reward; call it: {part.__name__}().")
        functions[name], weights[name] = part, float(weight)
    if not any(weights.values()):
        raise RewardError(
            f"all weights are zero ({', '.join(weights)}), so every completion would earn 0; set one above 0."
        )
    return Weighted(functions, weights, on_error)


def part_name(part: Any) -> str:
    """How a part is called in messages: the function's or the class's own name."""
    return getattr(part, "__name__", None) or type(part).__name__


def _check_bounds(part: Any, bounds: tuple[float, float]) -> None:
    low, high = bounds
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise RewardError(f"{part_name(part)} has bounds {bounds!r}, but they must be finite with low <= high.")


def _bounds(part: Any) -> tuple[float, float]:
    return getattr(part, "bounds", (0.0, 1.0))


def _applies(part: Any, sample: Sample) -> bool:
    applies = getattr(part, "applies", None)
    return applies is None or bool(applies(sample))


def _empty(sample: Sample, name: str) -> bool:
    value = getattr(sample, name) if hasattr(sample, name) else sample.columns.get(name)
    return value is None or (isinstance(value, str | Sequence | Mapping) and len(value) == 0)


def _call(name: str, part: Any, sample: Sample) -> float | None:
    try:
        if not _applies(part, sample):
            return None
        missing = [need for need in getattr(part, "needs", ()) if _empty(sample, need)]
        if missing:
            present = [
                f
                for f in ("question", "context", "golds", "evidence", "sessions", "time_range")
                if not _empty(sample, f)
            ]
            raise RewardError(
                f"reward {name!r} ({part_name(part)}) needs {', '.join(missing)}, but row {sample.id or '?'} has none "
                f"(it has {', '.join([*present, *sample.columns]) or 'no labels'}); fill it in, or leave the row out."
            )
        value = part(sample)
    except RewardError:
        raise
    except Exception as error:
        raise RewardError(
            f"reward {name!r} ({part_name(part)}) failed on row {sample.id or '?'}: {type(error).__name__}: {error}"
        ) from error
    return _number(name, part, sample, value)


def _call_batch(name: str, part: Any, samples: Sequence[Sample], extra: Mapping[str, Any]) -> list[float | None]:
    columns = _columns(samples)
    # TRL hands over message lists when prompts are conversations, text otherwise.
    completions = [
        s.completion if isinstance(s.prompt, str) else [{"role": "assistant", "content": s.completion}] for s in samples
    ]
    first = samples[0].id if samples else "?"
    try:
        values = part(prompts=[s.prompt for s in samples], completions=completions, **{**columns, **extra})
    except Exception as error:
        raise RewardError(
            f"reward {name!r} ({part_name(part)}) failed on a batch of {len(samples)} rows starting with row "
            f"{first or '?'}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(values, Sequence) or len(values) != len(samples):
        count = len(values) if isinstance(values, Sequence) else type(values).__name__
        raise RewardError(
            f"reward {name!r} ({part_name(part)}) returned {count} values for {len(samples)} completions (batch starts with "
            f"row {first or '?'}); it must return one number or None for each."
        )
    return [_number(name, part, sample, value) for sample, value in zip(samples, values, strict=True)]


def _columns(samples: Sequence[Sample]) -> dict[str, list[Any]]:
    names = (
        "id",
        "task",
        "kind",
        "source",
        "question",
        "context",
        "golds",
        "evidence",
        "sessions",
        "time_range",
        "asked_at",
    )
    columns = {name: [getattr(sample, name) for sample in samples] for name in names}
    for name in dict.fromkeys(key for sample in samples for key in sample.columns):
        columns[name] = [sample.columns.get(name) for sample in samples]
    return columns


def _number(name: str, part: Any, sample: Sample, value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = float(value)
    except (TypeError, ValueError) as error:
        raise RewardError(
            f"reward {name!r} ({part_name(part)}) returned {value!r:.80} for row {sample.id or '?'}, but must return a "
            "number or None."
        ) from error
    if not math.isfinite(number):
        raise RewardError(
            f"reward {name!r} ({part_name(part)}) returned {number} for row {sample.id or '?'}; a value that is not finite "
            "would spoil the whole group. Return None where the reward does not apply."
        )
    return number
