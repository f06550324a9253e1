"""What a completion answers, in whatever form, and whether that is right: exact match and F1 as SQuAD and LongBench do.

Knows the two output formats and plain text. Refuses to know the context, and what the answer was graded with in training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from rewards.errors import RowError
from rewards.parse_care import ANSWER, END_THINK
from rewards.sample import Sample
from rewards.text import normalise_answer, same_answer

Form = Literal["care", "memory", "plain"]


@dataclass(frozen=True)
class em:
    """1 if the answer equals a gold after SQuAD normalisation, else 0.

    As the official SQuAD script, but a gold that normalises to nothing ("A") is compared with articles left in, where the
    script would call an empty answer right. With `strict`, only an answer in the format of the row's task counts.

    >>> em()(Sample(golds=["Lisbon", "Lisboa"], completion="The Lisbon."))
    1.0
    """

    strict: bool = False

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, sample: Sample) -> float:
        answer = final_answer(sample, self.strict)
        return float(any(same_answer(answer, gold) for gold in golds_of(sample)))


@dataclass(frozen=True)
class f1:
    """LongBench's `qa_f1_score` with the best over all golds, in [0, 1]: F1 of the bags of SQuAD-normalised tokens.

    Equal to the official function in every case, also where it is harsh: a gold of articles and punctuation only ("A")
    gives 0 to every answer; `rewards.token_f1` does not.

    >>> f1()(Sample(golds=["Lisbon", "Lisboa"], completion="<think>...</think> Answer: Lisbon or Porto"))
    0.5
    """

    strict: bool = False

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, sample: Sample) -> float:
        answer = final_answer(sample, self.strict)
        return max(qa_f1(answer, gold) for gold in golds_of(sample))


@dataclass(frozen=True)
class in_form:
    """1 if the answer was read from a completion of this form ("care", "memory" or "plain"), else 0.

    >>> in_form("plain")(Sample(completion="It is Lisbon."))
    1.0
    """

    form: Form

    needs: ClassVar[tuple[str, ...]] = ()
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __call__(self, sample: Sample) -> float:
        return float(answer_form(sample) == self.form)


def final_answer(sample: Sample, strict: bool = False) -> str:
    """The answer of a completion as one line of text; see `answer_items`.

    >>> final_answer(Sample(completion='{"selected_memory": ["s1"], "answer": ["B", "C"]}'))
    'B, C'
    >>> final_answer(Sample(completion="It is Lisbon.<|im_end|>")), final_answer(Sample(completion="Lisbon"), strict=True)
    ('It is Lisbon.', '')
    """
    return ", ".join(answer_items(sample, strict))


def answer_items(sample: Sample, strict: bool = False) -> tuple[str, ...]:
    """The answer of a completion; several items only where a JSON answer is a list.

    CARE: the text behind the last `Answer:` after `</think>`. Memory-T1: the `answer` of the JSON object. Otherwise the
    text behind the last `</think>` and, if there is one, the last `Answer:`, so that models without the format are graded
    by what they answer. Chat special tokens are gone in a `Sample`. With `strict`, an answer that is not in the format of
    the row's task is empty.
    """
    form = answer_form(sample)
    if strict and form != _task_form(sample):
        return ("",)
    if form == "care":
        return (sample.care.answer or "",)
    if form == "memory":
        answer = sample.memory.answer
        return (answer,) if isinstance(answer, str) else answer
    return (sample.completion.rpartition(END_THINK)[2].rpartition(ANSWER)[2].strip(),)


def answer_form(sample: Sample) -> Form:
    """The form in which a completion gives its answer; the format of the row's task is looked for first."""
    first = _task_form(sample)
    for form in (first, "care" if first == "memory" else "memory"):
        if form == "memory" and sample.memory.ok:
            return "memory"
        if form == "care" and sample.care.answer is not None:
            return "care"
    return "plain"


def is_memory(sample: Sample) -> bool:
    """Whether the row is one of Memory-T1; a row without a task is, when it has sessions."""
    return sample.task == "memory_t1" or (not sample.task and bool(sample.sessions))


def golds_of(sample: Sample) -> Sequence[str]:
    """The accepted answers; raises `RowError` where there are none."""
    if not sample.golds:
        raise RowError(
            f"row {sample.id or '?'}: has no golds that are not blank, so no answer could be right; fill them in, or leave "
            "the row out."
        )
    return sample.golds


def qa_f1(answer: str, gold: str) -> float:
    """LongBench's `qa_f1_score` of one answer and one gold.

    >>> qa_f1("The Lisbon", "lisbon!"), qa_f1("", ""), qa_f1("A", "A")
    (1.0, 0.0, 0.0)
    """
    return overlap_f1(normalise_answer(answer).split(), normalise_answer(gold).split())


def overlap_f1(ours: Sequence[str], theirs: Sequence[str]) -> float:
    """F1 of two bags of tokens, 0 where they share none; rounded as in the official scripts, step by step."""
    same = sum((Counter(ours) & Counter(theirs)).values())
    if not same:
        return 0.0
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall)


def _task_form(sample: Sample) -> Form:
    return "memory" if is_memory(sample) else "care"
