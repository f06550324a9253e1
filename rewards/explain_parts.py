"""Why a part gave its value, in words: one function for each built-in part.

Asks the parts themselves what they saw. Knows no weight and no total. A part of your own says its reasons in a method
`explain(sample) -> list of sentences`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from rewards.accuracy import exact_match, token_f1
from rewards.answers import temporal_answer
from rewards.coverage import fact_coverage
from rewards.evidence import jaccard_evidence
from rewards.explain_quotes import Quoted, shortened
from rewards.explain_sessions import sessions_of
from rewards.format import care_format
from rewards.grounding import has_passages, quotes_in_context
from rewards.parse_memory import memory_format, session_key
from rewards.part import bounds_of, for_task, part_name
from rewards.quoted_answer import answer_in_quotes, quoted_gold
from rewards.sample import Sample
from rewards.temporal import temporal_consistency
from rewards.text import bag_f1

MAX_REASONS = 8

Reasons = list[str]


def reasons_of(part: Any, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    """Why a part gave this value to this sample, a sentence each; `quotes` are the completion's own.

    >>> reasons_of(token_f1(), Sample(golds="Rome", completion="<think></think> Answer: Paris"), 0.0, ())
    ['answered “Paris”, which shares no word with the gold answer “Rome”']
    """
    if isinstance(part, for_task):
        if sample.task != part.task:
            return [f"applies to the rows of task {part.task} alone"]
        part = part.part
    own = getattr(part, "explain", None)
    if callable(own):
        return [str(reason) for reason in own(sample)]
    tell = _TELLERS.get(type(part))
    if tell is not None:
        return tell(part, sample, value, quotes)
    if value is None:
        return ["does not apply"]
    low, high = bounds_of(part)
    return [f"{part_name(part)} gave {value:.3g}, of at least {low:g} and at most {high:g}"]


def _token_f1(part: token_f1, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    answer = sample.care.answer
    if answer is None:
        return [_no_answer(sample)]
    best = max(sample.golds, key=lambda gold: bag_f1(answer, gold), default="")
    said = f"answered “{shortened(answer)}”"
    if value == 1.0:
        return [f"{said}, which is the gold answer “{shortened(best)}”"]
    if not value:
        return [f"{said}, which shares no word with {_golds(sample)}"]
    return [f"{said}; of the gold answers “{shortened(best)}” is nearest, with a token F1 of {value:.2f}"]


def _exact_match(part: exact_match, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    answer = sample.care.answer
    if answer is None:
        return [_no_answer(sample)]
    return [f"answered “{shortened(answer)}”, which is {'' if value else 'not '}{_golds(sample)}"]


def _care_format(part: care_format, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    return list(sample.care.problems) or ["keeps to the format"]


def _grounding(part: quotes_in_context, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    if not part.applies(sample):
        return ["does not apply: the row has no passages"]
    judged = part.judged(sample)
    if judged is None:
        return ["no quote in the think block"]
    faulty = [i for i, quote in enumerate(quotes) if quote.same_as is None and quote.kind != "verbatim"]
    told = _listed([f"quote {i + 1}: {quotes[i].reason}" for i in faulty], "quotes")
    worth = ", ".join(f"{each:.2g}" for each in judged.values[:MAX_REASONS])
    counts = [
        *([f"{len(judged.values)} in the passages, worth {worth}"] if judged.values else []),
        *([f"{len(judged.mute)} that say too little"] if judged.mute else []),
        *([f"{len(judged.lost)} not in the passages"] if judged.lost else []),
    ]
    told.append(f"distinct quotes: {'; '.join(counts)}: a mean of {judged.mean:.2g}")
    if judged.factor < 1:
        told.append(
            f"{judged.quoted_chars:,} characters are quoted where {judged.allowed_chars:,.0f} are free: times {judged.factor:.2g}"
        )
    return told


def _answer_in_quotes(part: answer_in_quotes, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    if not part.applies(sample):
        where = "labelled evidence" if sample.evidence else "passages"
        return [f"does not apply: {_golds(sample)} stands nowhere in the {where}, or says nothing by itself (yes, no)"]
    judged = part.judged(sample)
    if judged is None:
        return ["no quote in the think block"]
    found = quoted_gold(sample, judged)
    if found is None:
        return [f"no quote that counts, and says more than that, holds {_golds(sample)}"]
    return [f"the gold answer “{shortened(found)}” stands in a quote", *_grounding(part, sample, value, quotes)]


def _coverage(part: fact_coverage, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    if not part.applies(sample):
        return [f"does not apply: the row has no {'labelled evidence' if has_passages(sample) else 'passages'}"]
    if not sample.care.spans:
        return ["no quote in the think block"]
    judged = part.judged(sample)
    missed = [fact for fact, covered in zip(judged.facts, judged.covered, strict=True) if not covered]
    told = [f"{sum(judged.covered)} of {len(judged.facts)} labelled facts are quoted"]
    told += _listed([f"not quoted: “{shortened(fact)}”" for fact in missed], "facts")
    return [*told, f"{judged.precision:.0%} of what is quoted belongs to a labelled fact"]


def _memory_format(part: memory_format, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    return [sample.memory.problem or "one readable JSON object"]


def _temporal_answer(part: temporal_answer, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    if not sample.memory.ok:
        return [_unreadable(sample)]
    verdict = "right" if value == 1.0 else "wrong" if not value else f"partly right ({value:.2f})"
    told = f"answered “{shortened(sample.memory.answer_text)}”, {verdict} as {_KINDS.get(sample.kind, sample.kind)}: "
    return [f"{told}{_golds(sample)}"]


def _jaccard(part: jaccard_evidence, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    if not part.applies(sample):
        return ["does not apply: the row labels no sessions"]
    if not sample.memory.ok:
        return [_unreadable(sample)]
    gold = list(dict.fromkeys(map(session_key, sample.evidence)))
    selected = sample.memory.selected
    right = [name for name in selected if name in gold]
    wrong = [name for name in selected if name not in gold]
    missed = [name for name in gold if name not in selected]
    told = [f"{len(right)} of {len(gold)} labelled sessions are selected, and {len(wrong)} others"]
    if missed:
        told.append(f"missed: {_names(missed)}")
    if wrong:
        told.append(f"not labelled: {_names(wrong)}")
    return told


def _temporal(part: temporal_consistency, sample: Sample, value: float | None, quotes: Sequence[Quoted]) -> Reasons:
    if not part.applies(sample):
        return ["does not apply: the question has no known time range, or no session a date"]
    if not sample.memory.ok:
        return [_unreadable(sample)]
    selected = [note for note in sessions_of(sample, part) if note.selected]
    if not selected:
        return ["no session is selected"]
    if all(note.value == 1.0 for note in selected):
        return ["every selected session, and what it tells of, lies in the range"]
    told = [
        f"{note.id} is worth {note.value:.2f}: {note.reason.partition('; ')[2] or note.reason}"
        for note in selected
        if note.value is not None
    ]
    return _listed(told, "sessions")


def _no_answer(sample: Sample) -> str:
    problems = [problem for problem in sample.care.problems if "Answer:" in problem or "think" in problem]
    return "no answer" + (f": {'; '.join(problems)}" if problems else "")


def _unreadable(sample: Sample) -> str:
    return f"cannot be judged: {sample.memory.problem}"


def _golds(sample: Sample) -> str:
    shown = ", ".join(f"“{shortened(gold, 80)}”" for gold in sample.golds[:MAX_REASONS])
    more = f" and {len(sample.golds) - MAX_REASONS} more" if len(sample.golds) > MAX_REASONS else ""
    return f"the gold answer {shown}" if len(sample.golds) == 1 else f"one of the gold answers {shown}{more}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_REASONS} more" if len(names) > MAX_REASONS else ""
    return ", ".join(shortened(name, 60) for name in names[:MAX_REASONS]) + more


def _listed(reasons: Reasons, what: str) -> Reasons:
    if len(reasons) <= MAX_REASONS:
        return reasons
    return [*reasons[:MAX_REASONS], f"and {len(reasons) - MAX_REASONS} more {what}"]


_KINDS = {
    "choice": "a choice of letters",
    "time": "a time",
    "duration": "a duration",
    "order": "an order",
    "text": "text",
}
_Teller = Callable[[Any, Sample, "float | None", Sequence[Quoted]], Reasons]
_TELLERS = cast(
    "dict[type, _Teller]",
    {
        token_f1: _token_f1,
        exact_match: _exact_match,
        care_format: _care_format,
        quotes_in_context: _grounding,
        answer_in_quotes: _answer_in_quotes,
        fact_coverage: _coverage,
        memory_format: _memory_format,
        temporal_answer: _temporal_answer,
        jaccard_evidence: _jaccard,
        temporal_consistency: _temporal,
    },
)
