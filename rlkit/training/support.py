"""Rewards without labelled evidence: do the quotes suffice for the answer, and is each of them needed?

A frozen copy of the model that a run starts from is asked for the gold answer from the question and the quotes alone.
Verbatim grounding cannot tell a useful quote from a useless one; this can, at the price of short forward passes. The model
reads the passages at the places that are quoted, never a quote's own words: evidence that was needed could be invented.
Knows prompts, quotes and likelihoods; knows no weights of other parts and no trainer.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from inspect import signature
from typing import Any, ClassVar, Literal, get_args

from rewards import Sample, Weighted
from rewards.errors import RewardError
from rewards.grounding import has_passages, quotes_in_context
from rewards.quoted_answer import says_more
from rewards.quotes import Quote, open_book, passage_range
from rewards.text import fold
from rlkit.prompts import chat_prompt

Measure = Literal["sufficiency", "necessity", "economy"]
Asked = tuple[str, tuple[str, ...], str]  # question, quotes, answer
MAX_QUOTES = 8  # of one completion; more are as good as none, so that leaving out one at a time stays cheap
MAX_WORDS = 400  # of all quotes of one completion together
KEPT_ANSWERS = 200_000
ENOUGH = 0.9  # of what was unknown
NEEDED = 0.1  # a quote is needed if the answer loses this share of its likelihood or more without it


@dataclass(frozen=True)
class quote_support:
    """How well the quotes support the gold answer in the eyes of a frozen model, in [0, 1]; needs golds, no evidence.

    With p(Q) the frozen model's likelihood of the gold answer (geometric mean over its tokens, the best of the golds) given
    the question and the quotes Q alone, and p() that without any:

    - `sufficiency`: (p(Q) - p()) / (1 - p()) / 0.9, at least 0 and at most 1: how much of what was unknown do the quotes
      tell? Nine tenths are enough, because no model is ever certain and its last doubts say nothing of the quotes.
    - `necessity`: mean over the quotes q of the sufficiency that is lost without q, at least 0.
    - `economy`: the share of the quoted words in quotes that are needed, when quotes are taken out one by one, the least
      needed first, as long as the likelihood stays within 10 %; times sufficiency, because one useless quote is no economy.

    Each is multiplied by what `quotes_in_context` gives for the quotes without looking at labelled evidence: invented quotes,
    quotes that say nothing and quoting too much cost the same in every grounding part. Quotes of one place are one quote,
    and one that holds nothing but a gold is not read to the model, which would find the answer in any such list.

    As a reward take sufficiency: the other two pay for leaving out a fact that leads to another, which the model guesses
    without (docs/audit.md).

    More than 8 spans or 400 words earn 0. Applies to rows of task `care` with passages. `model` is the frozen model's folder
    or hub name; a training run fills in the one that it starts from. `system` is the prompt's system message as in a
    config. `batch_size` prompts are read at a time.
    """

    measure: Measure = "sufficiency"
    model: str | None = None
    system: str | None = "default"
    batch_size: int = 64
    judge: Callable[[Sequence[Asked]], Sequence[float]] | None = field(default=None, compare=False)

    needs: ClassVar[tuple[str, ...]] = ("golds",)
    bounds: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def __post_init__(self) -> None:
        if self.measure not in get_args(Measure):
            raise RewardError(f"measure is {self.measure!r}, but must be one of {', '.join(get_args(Measure))}.")
        if isinstance(self.batch_size, bool) or not isinstance(self.batch_size, int) or self.batch_size < 1:
            raise RewardError(f"batch_size is {self.batch_size!r}, but must be a whole number of at least 1.")

    def applies(self, sample: Sample) -> bool:
        return sample.task in ("", "care") and has_passages(sample)

    def for_start_model(self, model: str, system: str | None) -> quote_support:
        """The same with the model that a run starts from and its system message, where none is named."""
        return self if self.model is not None else replace(self, model=model, system=system)

    def __call__(self, prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        """One value a completion; TRL's form, because a model reads a batch faster than its completions one by one."""
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        rows = [
            Sample(
                question=columns["question"][i],
                context=columns["context"][i],
                golds=columns["golds"][i],
                task=(columns.get("task") or [""] * len(texts))[i],
                completion=text,
            )
            for i, text in enumerate(texts)
        ]
        likelihood = self.judge or likelihood_of(self)
        return measured([_Case(row) if self.applies(row) else None for row in rows], self.measure, likelihood)


class _Case:
    """One completion: the text of the passages that it quotes, what its quoting is worth, and what is to be asked."""

    def __init__(self, sample: Sample) -> None:
        self.question, self.golds = sample.question, sample.golds
        self.quotes: tuple[str, ...] = ()
        self.grounding = 0.0
        spans = dict[str, int]()
        for span in sample.care.spans:
            spans.setdefault(fold(span), len(spans))
        judged = quotes_in_context().judged(sample) if 0 < len(spans) <= MAX_QUOTES else None
        if judged is None:
            return
        # in the order in which they are quoted: a chain of facts is easier to follow in its own
        quoted = sorted(judged.places, key=lambda quotes: min(spans[quote.text] for quote in quotes))
        texts = [_passage_text(sample, quotes) for quotes in quoted]
        texts = [text for text in texts if says_more(fold(text), sample.golds)]
        if sum(map(_words, texts)) <= MAX_WORDS:
            self.quotes = tuple(dict.fromkeys(texts))
            self.grounding = judged.mean * judged.factor

    def asked(self, quotes: Sequence[str]) -> list[Asked]:
        return [(self.question, tuple(quotes), gold) for gold in self.golds]


def measured(
    cases: Sequence[_Case | None], measure: Measure, likelihood: Callable[[Sequence[Asked]], Sequence[float]]
) -> list[float | None]:
    """The measure of every case; all questions of a round are asked together."""
    told: dict[Asked, float] = {}

    def ask(questions: Sequence[Asked]) -> None:
        new = [one for one in dict.fromkeys(questions) if one not in told]
        told.update(zip(new, likelihood(new), strict=True))

    def best(case: _Case, quotes: Sequence[str]) -> float:
        return max(told[one] for one in case.asked(quotes))

    quoting = [case for case in cases if case is not None and case.quotes]
    ask([one for case in quoting for quotes in ((), case.quotes) for one in case.asked(quotes)])

    def sufficiency(case: _Case, quotes: Sequence[str]) -> float:
        return _gain(best(case, ()), best(case, quotes))

    def necessity(case: _Case) -> float:
        whole = sufficiency(case, case.quotes)
        lost = [max(0.0, whole - sufficiency(case, _without(case.quotes, quote))) for quote in case.quotes]
        return math.fsum(lost) / len(lost)

    def economy(case: _Case) -> float:
        whole = best(case, case.quotes)
        kept = case.quotes
        for quote in sorted(kept, key=lambda quote: (-best(case, _without(case.quotes, quote)), quote)):
            fewer = _without(kept, quote)
            ask(case.asked(fewer))
            if best(case, fewer) > (1 - NEEDED) * whole:
                kept = fewer
        return sufficiency(case, case.quotes) * sum(map(_words, kept)) / sum(map(_words, case.quotes))

    if measure != "sufficiency":
        ask([one for case in quoting for quote in case.quotes for one in case.asked(_without(case.quotes, quote))])
    values: list[float | None] = []
    for case in cases:
        if case is None or not case.quotes:
            values.append(None if case is None else 0.0)
        elif measure == "sufficiency":
            values.append(case.grounding * sufficiency(case, case.quotes))
        else:
            values.append(case.grounding * (necessity(case) if measure == "necessity" else economy(case)))
    return values


def likelihood_of(part: quote_support) -> Callable[[Sequence[Asked]], list[float]]:
    """The frozen model's likelihoods, remembered from call to call: groups ask the same again and again."""
    if part.model is None:
        raise RewardError(
            "quote_support: names no model, and no training run is under way whose start model could be asked; "
            "give model: FOLDER."
        )
    key = (part.model, part.system)
    if key not in _judges:
        _judges[key] = _Judge(part.model, part.system, part.batch_size)
    return _judges[key]


_judges: dict[tuple[str, str | None], _Judge] = {}


class _Judge:
    """A frozen model, loaded at the first question, on this process's GPU or on the CPU."""

    def __init__(self, model: str, system: str | None, batch_size: int) -> None:
        self.model, self.system, self.batch_size = model, system, batch_size
        self._loaded: Any = None
        self._known: OrderedDict[Asked, float] = OrderedDict()

    def __call__(self, questions: Sequence[Asked]) -> list[float]:
        new = [one for one in dict.fromkeys(questions) if one not in self._known]
        for one, value in zip(new, self._likelihoods(new), strict=True):
            self._known[one] = value
        values = []
        for one in questions:
            self._known.move_to_end(one)
            values.append(self._known[one])
        while len(self._known) > KEPT_ANSWERS:
            self._known.popitem(last=False)
        return values

    def _likelihoods(self, questions: Sequence[Asked]) -> list[float]:
        model, tokenizer = self._model()
        pairs = [self._tokens(tokenizer, *one) for one in questions]
        order = sorted(range(len(pairs)), key=lambda at: len(pairs[at][0]) + len(pairs[at][1]))
        values = [0.0] * len(pairs)
        for start in range(0, len(order), self.batch_size):
            chosen = order[start : start + self.batch_size]
            for at, value in zip(chosen, answer_likelihoods(model, [pairs[at] for at in chosen]), strict=True):
                values[at] = value
        return values

    def _tokens(
        self, tokenizer: Any, question: str, quotes: tuple[str, ...], answer: str
    ) -> tuple[list[int], list[int]]:
        """The prompt with the quotes as passages and quoted in the reply, and the answer after it."""
        record = {"task": "care", "question": question, "context": [{"title": "", "text": quote} for quote in quotes]}
        prompt = tokenizer.apply_chat_template(
            chat_prompt(record, self.system), tokenize=False, add_generation_prompt=True
        )
        spans = " ".join(f"<retrieval>{quote}</retrieval>" for quote in quotes)
        said = f"{prompt}<think>{spans}</think> Answer:"
        asked = tokenizer(said, add_special_tokens=False).input_ids
        both = tokenizer(f"{said} {answer}", add_special_tokens=False).input_ids
        shared = next(
            (at for at, (a, b) in enumerate(zip(asked, both, strict=False)) if a != b), min(len(asked), len(both))
        )
        return both[:shared], both[shared:]

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            from rlkit.generation import weights

            model = weights.load_weights(
                self.model,
                dtype="auto",
                device=None,
                revision=None,
                attn_implementation=None,
                trust_remote_code=False,
            )
            self._loaded = model.requires_grad_(False), weights.load_tokenizer(self.model, None, False)
        return self._loaded


def answer_likelihoods(model: Any, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
    """For each (prompt tokens, answer tokens): the geometric mean of the answer's token probabilities, in [0, 1].

    One forward pass, padded on the right; logits from the shortest prompt's end on are computed, where the model can.
    """
    import torch

    first = min(len(prompt) for prompt, _ in pairs) - 1

    width = max(len(prompt) + len(answer) for prompt, answer in pairs)
    rows = [[*prompt, *answer] for prompt, answer in pairs]
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows], device=model.device)
    mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=model.device)
    with torch.inference_mode():
        few = {"logits_to_keep": width - first} if "logits_to_keep" in signature(model.forward).parameters else {}
        logits = model(input_ids=tokens, attention_mask=mask, **few).logits
    skipped = width - logits.shape[1]
    values = []
    for at, (prompt, answer) in enumerate(pairs):
        before = logits[at, len(prompt) - 1 - skipped : len(prompt) + len(answer) - 1 - skipped].float()
        chances = before.log_softmax(-1).gather(-1, tokens[at, len(prompt) : len(prompt) + len(answer)].unsqueeze(-1))
        values.append(math.exp(chances.mean().item()) if answer else 0.0)
    return values


def with_start_model(reward: Weighted, model: str, system: str | None) -> Weighted:
    """The reward with the model that a run starts from in every part that asks for it."""
    parts = {
        name: part.for_start_model(model, system) if isinstance(part, quote_support) else part
        for name, part in reward.parts.items()
    }
    return Weighted(parts, dict(reward.weights), reward.on_error)


def without_models(reward: Weighted) -> tuple[Weighted | None, list[str]]:
    """The reward without its parts that ask a model (none if no other is left), and their names: for a check on a laptop."""
    asking = [name for name, part in reward.parts.items() if isinstance(part, quote_support)]
    parts = {name: part for name, part in reward.parts.items() if name not in asking}
    weights = {name: reward.weights[name] for name in parts}
    return (Weighted(parts, weights, reward.on_error) if parts else None), asking


def _gain(before: float, after: float) -> float:
    return min(1.0, max(0.0, after - before) / (1 - before) / ENOUGH) if before < 1 else 0.0


def _without(quotes: Sequence[str], quote: str) -> tuple[str, ...]:
    return tuple(other for other in quotes if other != quote)


def _words(text: str) -> int:
    return len(text.split())


def _passage_text(sample: Sample, quotes: Sequence[Quote]) -> str:
    """The text of the passage from the first to the last word of quotes of one place."""
    book = open_book(tuple(sample.context))
    start, end = min(quote.start for quote in quotes), max(quote.end for quote in quotes)
    passage, first, last = passage_range(start, end, book, sample.context)
    return sample.context[passage].text[first:last]
