"""What a reward part is: a callable on one sample, or a TRL-style function on a batch, and the tags it may carry.

Knows how to ask and call one part; knows no weights, no totals and no formula.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol, TypeVar, overload

from rewards.errors import RewardError
from rewards.sample import Sample

F = TypeVar("F", bound=Callable[..., Any])
ROW_FIELDS = tuple(f.name for f in fields(Sample) if f.name not in ("completion", "prompt", "columns"))


class Part(Protocol):
    """A reward: a number for a sample, or `None` where it does not apply.

    It may also carry `needs`, `bounds` and `applies`, as `reward` describes them.
    """

    def __call__(self, sample: Sample, /) -> float | None: ...


@overload
def reward(function: F, /) -> F: ...
@overload
def reward(
    *,
    needs: str | Sequence[str] = ...,
    bounds: tuple[float, float] = ...,
    applies: Callable[[Sample], bool] | None = ...,
) -> Callable[[F], F]: ...
def reward(
    function: Any = None,
    /,
    *,
    needs: str | Sequence[str] = (),
    bounds: tuple[float, float] = (0.0, 1.0),
    applies: Callable[[Sample], bool] | None = None,
) -> Any:
    """Tag a function as a reward part and return it unchanged, so that it pickles and tests as the plain function.

    `needs` names the fields (or columns) that a row must have, else scoring stops with an error that names the row;
    `bounds` are the least and the greatest value; `applies` says whether a row can be judged at all, whatever the
    completion. Raises `RewardError` for bounds that are not finite and ordered.

    >>> @reward(needs=("golds",))
    ... def shouts(sample: Sample) -> float | None:
    ...     return float(sample.completion.isupper())
    >>> shouts(Sample(completion="YES")), shouts.needs
    (1.0, ('golds',))
    """

    def tag(target: Any) -> Any:
        target.needs = (needs,) if isinstance(needs, str) else tuple(needs)
        target.bounds = bounds
        if applies is not None:
            target.applies = staticmethod(applies) if inspect.isclass(target) else applies
        bounds_of(target)
        return target

    return tag if function is None else tag(function)


@dataclass(frozen=True)
class for_task:
    """A part that applies to the rows of one task only, so that one run can hold several tasks.

    >>> from rewards import exact_match
    >>> for_task("care", exact_match()).applies(Sample(task="memory_t1", golds="B"))
    False
    """

    task: str
    part: Any

    def __post_init__(self) -> None:
        if is_batch_function(self.part):
            raise RewardError(
                f"{part_name(self.part)} is a TRL-style batch function, which sees the rows of all tasks at once and so "
                f"cannot be kept to {self.task!r}; let it return None where the column 'task' is another."
            )

    @property
    def needs(self) -> tuple[str, ...]:
        return needs_of(self.part)

    @property
    def bounds(self) -> tuple[float, float]:
        return bounds_of(self.part)

    def applies(self, sample: Sample) -> bool:
        return sample.task == self.task and applies_to(self.part, sample)

    def __call__(self, sample: Sample) -> float | None:
        return self.part(sample) if sample.task == self.task else None


def check_part(part: Any) -> Any:
    """The part as it is; raises `RewardError` unless it can be called as a reward and its bounds make sense."""
    if inspect.isclass(part):
        raise RewardError(f"{part.__name__} is a class, not a reward; call it: {part.__name__}().")
    if not callable(part):
        raise RewardError(f"{part!r:.80} cannot be called; give a function or a reward object.")
    if inspect.iscoroutinefunction(part) or inspect.iscoroutinefunction(type(part).__call__):
        raise RewardError(
            f"{part_name(part)} is asynchronous, but parts are called one after the other; make it a plain function. "
            "A TRL-style batch function may run its waiting calls together inside with asyncio.run."
        )
    bounds_of(part)
    return part


def is_batch_function(part: Any) -> bool:
    """Whether a callable has TRL's form `(prompts, completions, **columns) -> list[float | None]`.

    >>> def trl_style(completions, **columns): return [1.0 for _ in completions]
    >>> is_batch_function(trl_style)
    True
    """
    try:
        return "completions" in inspect.signature(part).parameters
    except (TypeError, ValueError):  # some built-in callables have no signature
        return False


def part_name(part: Any) -> str:
    """How a part is called in messages: the function's or the class's own name."""
    if isinstance(part, for_task):
        return part_name(part.part)
    if isinstance(part, functools.partial):
        return part_name(part.func)
    return getattr(part, "__name__", None) or type(part).__name__


def needs_of(part: Any) -> tuple[str, ...]:
    """The fields or columns that a row must have for this part."""
    needs = getattr(part, "needs", ())
    return (needs,) if isinstance(needs, str) else tuple(needs)


def bounds_of(part: Any) -> tuple[float, float]:
    """The least and the greatest value of a part, (0, 1) unless it says otherwise; raises `RewardError` if not finite."""
    bounds = getattr(part, "bounds", (0.0, 1.0))
    try:
        low, high = bounds
        ordered = -math.inf < low <= high < math.inf
    except (TypeError, ValueError):
        ordered = False
    if not ordered:
        raise RewardError(f"{part_name(part)} has bounds {bounds!r}, but they must be two finite numbers, low <= high.")
    return low, high


def applies_to(part: Any, sample: Sample) -> bool:
    """Whether a part can judge this row at all, whatever the completion."""
    applies = getattr(part, "applies", None)
    return applies is None or bool(applies(sample))


def is_empty(sample: Sample, name: str) -> bool:
    """Whether a row has nothing in a field or column."""
    value = getattr(sample, name) if name in ROW_FIELDS else sample.columns.get(name)
    return value is None or (isinstance(value, str | Sequence | Mapping) and len(value) == 0)


def call(part: Any, sample: Sample) -> float | None:
    """The part's value for one sample; raises `RewardError` for anything but a finite number or `None`."""
    return _number(part(sample))


def call_batch(part: Any, samples: Sequence[Sample], extra: Mapping[str, Any]) -> list[float | None]:
    """A TRL-style function's values for a batch; raises `RewardError` for a lacking column, a wrong count or value."""
    # TRL hands over message lists when prompts are conversations, text otherwise.
    completions = [
        s.completion if isinstance(s.prompt, str) else [{"role": "assistant", "content": s.completion}] for s in samples
    ]
    arguments = {
        **_columns(samples),
        **extra,
        "prompts": [s.prompt for s in samples],
        "completions": completions,
    }
    for parameter in inspect.signature(part).parameters.values():
        named = parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        if named and parameter.default is parameter.empty and parameter.name not in arguments:
            raise RewardError(f"it takes the column {parameter.name!r}, but there are only: {', '.join(arguments)}.")
    given = part(**arguments)
    if not isinstance(given, Iterable) or isinstance(given, str | Mapping):
        raise RewardError(f"it returned {given!r:.80}, but must return a list with one number or None a completion.")
    values = list(given)
    if len(values) != len(samples):
        raise RewardError(
            f"it returned {len(values)} values for {len(samples)} completions, but must return one number or None each."
        )
    numbers = []
    for value, sample in zip(values, samples, strict=True):
        try:
            numbers.append(_number(value))
        except RewardError as error:
            raise RewardError(f"for row {sample.id or '?'}, {error}") from error
    return numbers


def _columns(samples: Sequence[Sample]) -> dict[str, list[Any]]:
    """The rows as TRL would hand them over: lists of plain values in the record layout, and every further column."""
    columns: dict[str, list[Any]] = {name: [getattr(s, name) for s in samples] for name in ROW_FIELDS}
    for name in ("golds", "evidence"):
        columns[name] = [list(value) for value in columns[name]]
    # Not `asdict`, which copies deeply: contexts hold many passages, and each completion of a row brings them all.
    columns["context"] = [[{"text": item.text, "title": item.title} for item in value] for value in columns["context"]]
    columns["sessions"] = [[asdict(item) for item in value] for value in columns["sessions"]]
    for name in dict.fromkeys(key for sample in samples for key in sample.columns):
        columns[name] = [sample.columns.get(name) for sample in samples]
    return columns


def _number(value: Any) -> float | None:
    if value is None:
        return None
    try:
        number = math.nan if isinstance(value, str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # torch raises the last for tensors of many values
        number = math.nan
    if not math.isfinite(number):
        raise RewardError(
            f"it returned {value!r:.80}, but must return one finite number or None; a value that is not finite would "
            "spoil the whole group. Return None where the reward does not apply."
        )
    return number
