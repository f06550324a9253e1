"""Fits a record's passages into a token budget: whole passages go, distractors alone, nothing is cut.

Knows how a passage stands in the prompt; knows no tokenizer (the caller brings a counter) and no chat
template.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

from rlkit.data.record import Record
from rlkit.prompts import passage_text


@dataclass(frozen=True)
class Fit:
    """What `fit` did to one record: its tokens now, and the positions of the passages that went."""

    tokens: int
    dropped: tuple[int, ...] = ()
    problem: str = ""


def fit(
    record: Record,
    budget_tokens: int,
    count_tokens: Callable[[str], int],
    *,
    other_tokens: int = 0,
) -> tuple[Record | None, Fit]:
    """The record with the passages that fit into `budget_tokens`, or None where its evidence alone does not.

    Passages that hold labelled evidence stay. The others stay from first to last as long as they fit; one
    that does not is skipped, and a shorter one after it may still stay. Order in the file decides because it
    costs nothing, is the same for everyone, and is the search engine's own ranking in MS MARCO. Where no
    evidence is labelled, or not all of it is found, no passage is known to be a distractor, so nothing goes
    and the row does not fit. `other_tokens` is what the prompt holds besides question and passages (system
    message, chat template); each text is counted once.

    >>> passages = [{"title": "", "text": "a b c"}, {"title": "", "text": "Emma is by Austen."}, {"title": "", "text": "d"}]
    >>> row = {"id": "q1", "question": "Who wrote Emma?", "context": passages, "evidence": ["Emma is by Austen."]}
    >>> fitted, told = fit(row, 9, lambda text: len(text.split()))
    >>> [passage["text"] for passage in fitted["context"]], told.tokens, told.dropped
    (['Emma is by Austen.', 'd'], 9, (0,))
    >>> fit(row, 5, lambda text: len(text.split()))
    (None, Fit(tokens=8, dropped=(0, 2), problem='its evidence alone takes 8 tokens of 5'))
    """
    passages = record.get("context") or []
    costs = [count_tokens(passage_text(cast(dict[str, str], passage)) + "\n\n") for passage in passages]
    base = other_tokens + count_tokens(f"Question: {record['question']}")
    total = base + sum(costs)
    if total <= budget_tokens:
        return record, Fit(total)
    facts = [_folded(fact) for fact in record.get("evidence") or ()]
    texts = [_folded(passage["text"]) for passage in passages]
    if not facts or not all(any(fact in text for text in texts) for fact in facts):
        lacking = "its labelled evidence is not in its passages" if facts else "no evidence is labelled"
        return None, Fit(total, problem=f"takes {total} tokens of {budget_tokens}, and {lacking}, so none may go")
    kept = {number for number, text in enumerate(texts) if any(fact in text for fact in facts)}
    tokens = base + sum(costs[number] for number in kept)
    fits = tokens <= budget_tokens
    if fits:
        for number, cost in enumerate(costs):
            if number not in kept and tokens + cost <= budget_tokens:
                kept.add(number)
                tokens += cost
    dropped = tuple(number for number in range(len(passages)) if number not in kept)
    if not fits:
        return None, Fit(tokens, dropped, f"its evidence alone takes {tokens} tokens of {budget_tokens}")
    shorter = {**record, "context": [passages[number] for number in sorted(kept)]}
    return cast(Record, shorter), Fit(tokens, dropped)


def _folded(text: str) -> str:
    return " ".join(text.split())
