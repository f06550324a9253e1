"""What becomes of one record: the next question to ask, a finished row, or a reason to reject it.

A pure function of the record and the answers that are already kept, so that a killed run continues where it was and
ends with the same rows. Knows no model, no file and no thread.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rewards import Sample, presets, token_f1
from rewards.errors import RowError
from rewards.gold import gold_completion
from rewards.text import bag_f1
from rlkit.distill.facts import Placed, find_facts, tag_facts, verbatim_facts
from rlkit.distill.prompts import (
    ask_injector,
    ask_reasoner,
    cut_answer,
    fenced_blocks,
    read_reasoning,
    read_rewritten,
    stray_markup,
)
from rlkit.distill.settings import Settings
from rlkit.generation.endpoint import FAILED, REFUSED
from rlkit.generation.model import Conversation
from rlkit.prompts import chat_prompt

REASONER, INJECTOR = "reasoner", "injector"
STAGES = (REASONER, INJECTOR)
_CARE = presets.care()
UNANSWERED = {REFUSED: "the endpoint refused the request", FAILED: "the endpoint gave no answer"}
_FINISHED = ("", "stop", "eos", "eos_token", "end_turn", "stop_sequence")  # the words of servers for a whole answer
_CUT_OFF = ("length", "content_filter")
Recall = Callable[[str], Mapping[str, Any] | None]


@dataclass(frozen=True)
class Ask:
    """A question that has no answer yet; `key` is what its answer is kept under."""

    stage: str
    key: str
    messages: Conversation

    @property
    def content(self) -> str:
        """The key without the record's id: equal for two records with the same question and passages."""
        return self.key.rpartition(":")[2]


@dataclass(frozen=True)
class Rejected:
    """A record that gives no row: at which stage, why (the same words for the same cause), which, what the model said."""

    stage: str
    reason: str
    detail: str = ""
    text: str = ""


@dataclass(frozen=True)
class Kept:
    """A record that gives a row: its completion, the facts quoted, how many of them were aligned."""

    completion: str
    facts: int
    aligned: int


@dataclass(frozen=True)
class Steps:
    """The way of a record through the three stages under given settings; `identities` are those of the two models."""

    settings: Settings
    identities: Mapping[str, str]

    def _check(self, record: Mapping[str, Any]) -> Rejected | None:
        """Why no answer could make a row of this record; found out before anything is paid for."""
        if not record.get("evidence"):
            return Rejected("labels", "no labelled facts", "evidence is empty, so there is nothing to quote")
        for label, fact in zip(record["evidence"], verbatim_facts(record), strict=True):
            if not fact:
                return Rejected("labels", "a labelled fact is not in the passages", label)
        sample = Sample.from_record(record)
        try:
            short = _withheld(sample.with_completion(gold_completion(sample)))
        except RowError as error:
            return Rejected("labels", "the row cannot be judged", str(error))
        return Rejected("labels", "the row's own gold does not score 1.0", short) if short else None

    def first(self, record: Mapping[str, Any]) -> Ask | Rejected:
        """The record's question to the reasoner, or why no model could make a row of it."""
        rejected = self._check(record)
        return rejected or self._ask(REASONER, record, ask_reasoner(record, self.settings.reasoner.instructions))

    def step(self, record: Mapping[str, Any], recall: Recall) -> Ask | Rejected | Kept:
        """What comes after the first question; `recall` gives the kept answer of a key, or `None`."""
        ask = self._ask(REASONER, record, ask_reasoner(record, self.settings.reasoner.instructions))
        reply = recall(ask.key)
        if reply is None:
            return ask
        rejected = _without_answer(REASONER, reply)
        if rejected:
            return rejected
        reasoning, answer = read_reasoning(reply["text"])
        if answer is None:
            return Rejected(REASONER, "no answer", "the reply has no `Answer:`", reply["text"])
        if not reasoning:
            return Rejected(REASONER, "no reasoning", "the reply is an answer only", reply["text"])
        gold, f1 = _best_gold(record, answer)
        if f1 < self.settings.min_answer_f1:
            return Rejected(REASONER, "wrong answer", f"{answer:.200} (F1 {f1:.2f}), not {gold:.200}", reply["text"])
        facts = list(dict.fromkeys(verbatim_facts(record)))
        ask = self._ask(INJECTOR, record, ask_injector(record, reasoning, facts, self.settings.injector.instructions))
        rewritten = recall(ask.key)
        if rewritten is None:
            return ask
        return self._tagged(record, rewritten, facts, gold)

    def _tagged(
        self, record: Mapping[str, Any], reply: Mapping[str, Any], facts: list[str], gold: str
    ) -> Rejected | Kept:
        rejected = _without_answer(INJECTOR, reply)
        if rejected:
            return rejected
        text = read_rewritten(reply["text"])
        whole = [
            block for block in fenced_blocks(text) if not find_facts(block, facts, self.settings.min_similarity).missing
        ]
        text = whole[0] if len(whole) == 1 else text  # what is said around it is about the task, not of the reasoning
        placed = find_facts(text, facts, self.settings.min_similarity)
        text, answer = cut_answer(text, [(place.start, place.end) for place in placed.places])
        if answer is not None:
            if _best_gold(record, answer)[1] < self.settings.min_answer_f1:
                return Rejected(INJECTOR, "wrong answer", f"{answer:.200}, not {gold:.200}", reply["text"])
            placed = find_facts(text, facts, self.settings.min_similarity)
        if placed.missing:
            detail = f"{len(placed.missing)} of {len(facts)}: {placed.missing[0]}"
            return Rejected(INJECTOR, "a fact is missing", detail, reply["text"])
        if placed.inside:
            return Rejected("tagging", "a fact stands only inside another's tags", placed.inside[0], reply["text"])
        completion = f"<think>{tag_facts(text, placed.places)}</think> Answer: {gold}"
        sample = Sample.from_record(record, completion=completion)
        if sample.care.problems:
            return Rejected("tagging", "not in the CARE format", "; ".join(sample.care.problems), completion)
        if sample.care.spans != tuple(
            place.fact for place in placed.places
        ):  # a tag that came to be around other words
            quotes = "; ".join(sample.care.spans)
            return Rejected("tagging", "the quotes are not the facts", f"quoted: {quotes:.500}", completion)
        if not _says_more(text, placed):
            return Rejected(INJECTOR, "no reasoning", "the reply is the facts only", reply["text"])
        if stray := stray_markup(reply["text"]):
            return Rejected(INJECTOR, "not plain text", stray, reply["text"])
        withheld = _withheld(sample)
        if withheld:
            return Rejected("tagging", "scores less than 1.0", withheld, completion)
        return Kept(sample.completion, len(facts), placed.aligned)

    def _ask(self, stage: str, record: Mapping[str, Any], messages: Conversation) -> Ask:
        asked = hashlib.blake2b(json.dumps(self.identities[stage]).encode(), digest_size=16)
        for message in messages:  # JSON, so that no two lists of messages run into the same text
            asked.update(
                json.dumps([message["role"], message["content"]], ensure_ascii=False).encode("utf-8", "replace")
            )
        return Ask(stage, f"{stage}:{record['id']}:{asked.hexdigest()}", messages)


def row_of(record: Mapping[str, Any], completion: str, system: str | None) -> dict[str, Any]:
    """The SFT row: the record with its `prompt` messages and its completion, as `{format: records}` loads it."""
    return {**record, "prompt": chat_prompt(record, system), "completion": completion}


def _without_answer(stage: str, reply: Mapping[str, Any]) -> Rejected | None:
    ended = reply["finish_reason"]
    if ended in UNANSWERED:
        return Rejected(stage, UNANSWERED[ended], reply["text"])
    if ended in _CUT_OFF:
        return Rejected(stage, "the reply was cut off", f"finish reason {ended}", reply["text"])
    if ended not in _FINISHED:
        return Rejected(stage, "the reply is not finished", f"finish reason {ended:.60}", reply["text"])
    if not reply["text"].strip():
        return Rejected(stage, "the reply is empty", f"finish reason {ended}")
    return None


def _says_more(text: str, placed: Placed) -> bool:
    """Whether there is a word outside the facts."""
    starts = [0, *(place.end for place in placed.places)]
    ends = [*(place.start for place in placed.places), len(text)]
    return any(any(map(str.isalpha, text[start:end])) for start, end in zip(starts, ends, strict=True))


def _best_gold(record: Mapping[str, Any], answer: str) -> tuple[str, float]:
    """The gold most like the answer, and the F1 that the `care` reward gives it."""
    sample = Sample(golds=record["golds"], completion=f"<think></think> Answer: {answer}")
    return max(record["golds"], key=lambda gold: bag_f1(sample.care.answer or "", gold)), token_f1()(sample)


def _withheld(sample: Sample) -> str:
    """The parts of the `care` preset that give less than 1, as text; empty = it scores 1.0."""
    score = _CARE(sample)
    if score.total is not None and math.isclose(score.total, 1.0, abs_tol=1e-9):
        return ""
    return ", ".join(
        f"{name} {'does not apply' if value is None else f'{value:.3g}'}"
        for name, value in score.parts.items()
        if value is None or value < 1
    )
