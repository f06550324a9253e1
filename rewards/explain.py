"""Why a completion earned what it earned: every part with its reason, every quote and session with its place.

The words stand in `explain_parts`, the places in `explain_quotes` and `explain_sessions`, how it is shown in
`explain_show`. Values come from the score itself, places from the searches of the parts, so an explanation cannot disagree
with what it explains. Knows no file and no trainer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rewards.compose import Score, Weighted
from rewards.coverage import fact_coverage
from rewards.errors import RewardError
from rewards.explain_parts import reasons_of
from rewards.explain_quotes import Fact, Place, Quoted, facts_of, quotes_of
from rewards.explain_sessions import EventNote, SessionNote, sessions_of
from rewards.grounding import has_passages, quotes_in_context
from rewards.part import for_task
from rewards.sample import Sample
from rewards.temporal import temporal_consistency

__all__ = ["EventNote", "Explanation", "Fact", "PartNote", "Place", "Quoted", "SessionNote", "explain"]


@dataclass(frozen=True)
class PartNote:
    """One part: its own value, its weight, what it adds to the total, the most it can add to this row's, and why.

    `value` and `worth` are `None` where the part does not apply.
    """

    name: str
    value: float | None
    weight: float
    worth: float | None
    best: float
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Explanation:
    """Why one completion earned its score; print it, show it in a notebook, or take its fields.

    Offsets count characters: those of quotes in `sample.completion`, those of places in `sample.context[i].text`.
    """

    sample: Sample = field(repr=False)
    total: float | None
    maximum: float
    parts: tuple[PartNote, ...]
    quotes: tuple[Quoted, ...]
    facts: tuple[Fact, ...]
    sessions: tuple[SessionNote, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON: everything but the sample itself."""
        return {
            "total": self.total,
            "maximum": self.maximum,
            **{
                name: [asdict(item) for item in getattr(self, name)]
                for name in ("parts", "quotes", "facts", "sessions")
            },
        }

    def __str__(self) -> str:
        from rewards.explain_show import as_text

        return as_text(self)

    def _repr_html_(self) -> str:
        from rewards.explain_show import as_html

        return as_html(self)


def explain(sample: Sample, reward: Weighted, score: Score | None = None) -> Explanation:
    """Why `reward` gives this sample its score, or the given `score`, in words and places.

    With a `score` that was given elsewhere (a log), no part of your own is called, and a built-in part that would give
    another value now says so. Raises what scoring raises.

    >>> from rewards import presets
    >>> row = Sample(question="Who wrote Emma?", context=["Emma is by Jane Austen."], golds="Jane Austen",
    ...              completion="<think><retrieval>Emma is by Austen.</retrieval></think> Answer: Jane Austen")
    >>> told = explain(row, presets.care())
    >>> [(part.name, part.value) for part in told.parts], told.quotes[0].kind
    ([('accuracy', 1.0), ('format', 1.0), ('grounding', 0.0)], 'missing')
    """
    logged = score is not None
    score = reward(sample) if score is None else score
    quotes = _quotes(sample, reward)
    notes = []
    for name, part in reward.parts.items():
        value, weight = score.parts.get(name), reward.weights[name]
        reasons = _reasons(name, part, sample, value, score.errors, quotes, logged)
        worth = None if value is None else weight * value
        notes.append(PartNote(name, value, weight, worth, weight * _best(reward, name, sample), tuple(reasons)))
    facts = facts_of(sample) if has_passages(sample) and sample.task != "memory_t1" else ()
    timing = _first(reward, temporal_consistency) or temporal_consistency()
    sessions = sessions_of(sample, timing) if sample.sessions else ()
    return Explanation(sample, score.total, score.maximum, tuple(notes), quotes, facts, sessions)


def _quotes(sample: Sample, reward: Weighted) -> tuple[Quoted, ...]:
    """The quotes as the reward's grounding part finds them, or as the standard one would where it has none."""
    if not has_passages(sample):
        return ()
    judge = _first(reward, quotes_in_context)
    if judge is None:
        coverage = _first(reward, fact_coverage)
        return quotes_of(sample, quotes_in_context().threshold if coverage is None else coverage.threshold)
    return quotes_of(sample, judge.threshold, judge)


def _first(reward: Weighted, kind: type) -> Any:
    parts = (part.part if isinstance(part, for_task) else part for part in reward.parts.values())
    return next((part for part in parts if isinstance(part, kind)), None)


def _reasons(
    name: str,
    part: Any,
    sample: Sample,
    value: float | None,
    errors: Mapping[str, str],
    quotes: tuple[Quoted, ...],
    logged: bool,
) -> list[str]:
    if name in errors:
        return [f"failed, and abstains: {errors[name]}"]
    inner = part.part if isinstance(part, for_task) else part
    built_in = type(inner).__module__.startswith("rewards.")
    if not logged:
        return reasons_of(part, sample, value, quotes)
    if not built_in and not callable(getattr(inner, "explain", None)):
        return ["does not apply" if value is None else f"{name} gave {value:.3g}"]
    now = part(sample) if built_in else value
    if _same(now, value):
        return reasons_of(part, sample, value, quotes)
    told = "does not apply" if now is None else f"gives {now:.4g}"
    was = "none" if value is None else f"{value:.4g}"
    return [
        f"was logged as {was}, but {told} with this version and these parameters",
        *reasons_of(part, sample, now, quotes),
    ]


def _best(reward: Weighted, name: str, sample: Sample) -> float:
    try:
        return reward.best(name, sample)
    except RewardError:
        return 0.0


def _same(one: float | None, other: float | None) -> bool:
    return one is other if one is None or other is None else abs(one - other) <= 1e-6
