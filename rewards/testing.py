"""What you need to test a reward of your own: the laws that every reward keeps, and rows and outputs to try it on.

    from rewards.testing import check_reward

    def test_names_the_year():
        check_reward(names_the_year)

Knows the laws, not the formulas. `samples` and `completions` are hypothesis strategies; hypothesis is imported only
when they are called.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rewards.compose import Score, Weighted, weighted
from rewards.errors import RewardError
from rewards.gold import gold_completion
from rewards.part import bounds_of
from rewards.sample import Sample

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

_TOLERANCE = 1e-9
_SPECIAL_TOKENS = ("<|im_end|>", "<|endoftext|><|endoftext|>", "</s>", "<|eot_id|>\n", "<pad><pad>")
_LONG_CHARACTERS = (10_000, 100_000, 1_000_000)
# Ten times the text may take this many times as long; a quadratic reward takes a hundred times.
_MAX_GROWTH = 40.0
_UNMEASURED_SECONDS = 0.05

LONG_TEXTS: dict[str, Callable[[int], str]] = {
    "one long run of a character": lambda characters: "a" * characters,
    "unclosed tags": lambda characters: "<think><retrieval>" * (characters // 18),
    "nested brackets": lambda characters: '{"a":[' * (characters // 6),
    "many short spans": lambda characters: "<think>" + "<retrieval>a b</retrieval>" * (characters // 26),
    "many words": lambda characters: "never 7 of the Answer: " * (characters // 23),
}


def check_reward(reward: Any, samples: Sequence[Sample] | None = None, *, task: str = "care") -> None:
    """Raise `AssertionError` naming law and sample unless a part or a composed reward keeps the laws of a reward.

    The laws: the gold output earns the maximum; every value is finite and within the reward's bounds, whatever the
    text; scores do not depend on chat special tokens, on the batch around a sample or on the run; the reward pickles;
    its cost grows with the length of the text, not with its square. `samples` default to a few rows of `task`; a
    sample's own completion, if it has one, stands for the gold output.

    >>> check_reward(lambda sample: 1.0 if sample.completion else 0.0)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    AssertionError: law 'the reward pickles' broke: ...
    """
    composed = reward if isinstance(reward, Weighted) else weighted(reward=(1.0, reward))
    rows = [_with_gold(sample) for sample in (example_samples(task) if samples is None else samples)]
    if not rows:
        raise AssertionError("there is no sample to check the reward on")
    _check_gold(composed, rows)
    tried = [sample.with_completion(text) for sample in rows for text in _variants(sample.completion)]
    scores = [_score(composed, sample, "any text can be scored") for sample in tried]
    for sample, score in zip(tried, scores, strict=True):
        _check_bounds(composed, sample, score)
    _check_stable(composed, tried, scores)
    _check_pickles(composed, tried, scores)
    _check_growth(composed, rows[0])


# Messages, as in training: a TRL-style batch function then gets each completion as a list of one message.
_PROMPT = [{"role": "user", "content": "Answer the question."}]


def example_samples(task: str = "care") -> list[Sample]:
    """A few rows of a task with all that rewards may need: labelled and unlabelled, words, numbers, letters and dates."""
    if task == "care":
        emma = "Emma is a novel by Jane Austen that was published in 1815."
        context = [{"title": "Emma", "text": emma}, "The river Douro flows through Porto before it meets the sea."]
        base: dict[str, Any] = {
            "task": "care",
            "kind": "text",
            "context": context,
            "source": "examples",
            "prompt": _PROMPT,
        }
        return [
            Sample(id="labelled", question="Who wrote Emma?", golds="Jane Austen", evidence=emma, **base),
            Sample(id="unlabelled", question="Which river flows through Porto?", golds=["Douro", "the Douro"], **base),
            Sample(id="number", question="When was Emma published?", golds=1815, evidence=[emma], **base),
        ]
    if task == "memory_t1":
        sessions = [
            _session("session_1", "2024-02-10", "Ann adopted a dog", "2024-02-08"),
            _session("session_2", "2024-03-05", "Ann moved to Porto", "2024-03-04"),
            _session("session_3", "2024-06-20", "Ann bought a boat", "2024-06-19"),
        ]
        base = {"task": "memory_t1", "sessions": sessions, "asked_at": "2024-07-01T10:00:00", "source": "examples"}
        base["prompt"] = _PROMPT
        march = ("2024-03-01", "2024-03-31")
        asked = "What did Ann do in March? A. adopt a dog B. move to Porto C. buy a boat"
        return [
            Sample(id="choice", kind="choice", question=asked, golds="B", evidence="session_2", time_range=march, **base),
            Sample(id="time", kind="time", question="When did Ann move to Porto?", golds="2024-03-04",
                   evidence=["session_2"], time_range=("2024-03-01", None), **base),
            Sample(id="duration", kind="duration", question="How long after the dog did Ann buy the boat?",
                   golds="132 days", evidence=["session_1", "session_3"], **base),
        ]  # fmt: skip
    raise ValueError(f"task is {task!r}, but must be 'care' or 'memory_t1'.")


def samples(task: str = "care") -> SearchStrategy[Sample]:
    """A hypothesis strategy: rows of a task with any labels, each with a gold, well-formed, near-miss or hostile output."""
    from rewards.strategies import samples as strategy

    return strategy(task)


def completions(task: str = "care") -> SearchStrategy[str]:
    """A hypothesis strategy: outputs in the task's format, outputs that just miss it, and hostile text."""
    from rewards.strategies import completions as strategy

    return strategy(task)


def _with_gold(sample: Sample) -> Sample:
    if sample.completion or not sample.golds:
        return sample
    return sample.with_completion(gold_completion(sample))


def _variants(gold: str) -> Iterator[str]:
    yield gold
    yield gold[: len(gold) // 2]
    yield gold[len(gold) // 2 :]
    yield gold + gold
    yield gold.upper()
    yield gold.replace("a", "b")
    yield from ("", " \n\t", "Answer:", "<think></think>", "<think><retrieval></retrieval></think> Answer: ")
    yield from ("{}", "[]", "null", '{"selected_memory": 7, "answer": {}}', '{"selected_memory": [], "answer": ""}')
    yield from ("\x00\ud800\u202e\U0001f600", "(((" * 99, "\\" * 99, "1e999", "NaN", "-" * 99)


def _score(reward: Weighted, sample: Sample, law: str) -> Score:
    try:
        return reward(sample)
    except RewardError as error:
        raise AssertionError(_broken(law, sample, str(error))) from error


def _broken(law: str, sample: Sample, what: str) -> str:
    return f"law {law!r} broke on sample {sample.id or '?'} with completion {sample.completion!r:.120}: {what}"


def _check_gold(reward: Weighted, rows: Sequence[Sample]) -> None:
    law = "the gold output earns the maximum"
    scores = [_score(reward, sample, law) for sample in rows]
    if all(score.total is None for score in scores):
        raise AssertionError(
            "the reward applies to none of the samples, so nothing was checked; pass samples that it applies to"
        )
    for sample, score in zip(rows, scores, strict=True):
        if score.total is None:
            continue
        if abs(score.total - score.maximum) > _TOLERANCE:
            raise AssertionError(
                _broken(law, sample, f"it earns {score.total:.6g} of {score.maximum:.6g}, parts {dict(score.parts)}")
            )


def _check_bounds(reward: Weighted, sample: Sample, score: Score) -> None:
    for name, value in score.parts.items():
        low, high = bounds_of(reward.parts[name])
        if value is not None and not low - _TOLERANCE <= value <= high + _TOLERANCE:
            raise AssertionError(
                _broken("values are within bounds", sample, f"{name} is {value!r}, outside of {low} to {high}")
            )


def _check_stable(reward: Weighted, tried: Sequence[Sample], scores: Sequence[Score]) -> None:
    law = "scores do not change from run to run"
    for sample, score in zip(tried, scores, strict=True):
        _compare(law, sample, score, _score(reward, sample.with_completion(sample.completion), law))
    law = "scores do not change under chat special tokens"
    for i, (sample, score) in enumerate(zip(tried, scores, strict=True)):
        ended = sample.with_completion(sample.completion + _SPECIAL_TOKENS[i % len(_SPECIAL_TOKENS)])
        _compare(law, sample, score, _score(reward, ended, law))
    law = "scores do not depend on the batch"
    for order in (tried, tried[::-1]):
        try:
            batched = reward.batch(order)
        except RewardError as error:
            raise AssertionError(_broken(law, order[0], str(error))) from error
        expected = scores if order is tried else scores[::-1]
        for sample, score, again in zip(order, expected, batched, strict=True):
            _compare(law, sample, score, again)


def _check_pickles(reward: Weighted, tried: Sequence[Sample], scores: Sequence[Score]) -> None:
    law = "the reward pickles"
    try:
        copy = pickle.loads(pickle.dumps(reward))
    except Exception as error:
        raise AssertionError(
            f"law {law!r} broke: {type(error).__name__}: {error}; define functions and classes at the top of a module"
        ) from error
    for sample, score in zip(tried, scores, strict=True):
        _compare(law, sample, score, _score(copy, sample, law))


def _compare(law: str, sample: Sample, score: Score, other: Score) -> None:
    if (score.total, dict(score.parts)) != (other.total, dict(other.parts)):
        raise AssertionError(_broken(law, sample, f"parts are {dict(score.parts)} and then {dict(other.parts)}"))


def _check_growth(reward: Weighted, row: Sample) -> None:
    for name, make in LONG_TEXTS.items():
        before: float | None = None
        for characters in _LONG_CHARACTERS:
            seconds = min(_seconds(reward, row.with_completion(make(characters))) for _ in range(2))
            if before is not None and seconds > _UNMEASURED_SECONDS and seconds > _MAX_GROWTH * before:
                raise AssertionError(
                    f"law 'cost is linear in the text' broke on {name}: {characters:,} characters take {seconds:.3g} s, "
                    f"a tenth of them {before:.3g} s"
                )
            before = seconds


def _seconds(reward: Weighted, sample: Sample) -> float:
    fresh = sample.with_completion(sample.completion)  # what an earlier run has parsed is not kept
    start = time.perf_counter()
    _score(reward, fresh, "long text can be scored")
    return time.perf_counter() - start


def _session(name: str, day: str, summary: str, happened: str) -> dict[str, Any]:
    event = {"summary": summary, "start": happened, "end": happened}
    said = {"speaker": "Ann", "text": summary + ".", "time": f"{day}T09:00:00", "events": [event]}
    return {"id": name, "date": f"{day}T09:00:00", "utterances": [said]}
