"""How much of its context a question is asked with: all of it, what retrieval finds, the labelled evidence, or nothing.

The policies are the baselines of the papers' tables. Training and inference choose sessions with the same code
(`rlkit.memory.candidates`). Knows records, messages and something that encodes; knows no model and no metric.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, cast

from rewards.parse_memory import session_key
from rlkit.data import dialogues
from rlkit.data.layout import Report
from rlkit.data.record import Passage, Record
from rlkit.errors import ConfigError, nearest
from rlkit.evaluation.prompt import Prompt
from rlkit.memory.candidates import Candidates
from rlkit.memory.retriever import rank
from rlkit.prompts import passage_text

# The options of each policy; `max_tokens` goes with all of them.
POLICIES: dict[str, tuple[str, ...]] = {
    "full": (),
    "middle": (),
    "bm25": ("top_k", "budget_tokens", "passage_words"),
    "time_bm25": ("top_k", "budget_tokens", "time_range", "margin_days"),
    "oracle": (),
    "none": (),
}
# Sources whose records bring a prompt of their own that can be made anew from what is shown.
_PROMPTS = {"dialogues": dialogues.prompt_of}
_SENTENCE_END = re.compile(r"[.!?][ \t]+|\n+")

CountTokens = Callable[[str], int]


class Tokenizer(Protocol):
    """What counts and cuts text, as the tokenizers of `transformers` do."""

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]: ...

    def decode(self, token_ids: list[int], *, skip_special_tokens: bool) -> str: ...


@dataclass(frozen=True)
class Policy:
    """One context policy with its options: the section `context:` of a suite.

    `full` shows all. `bm25` shows the `top_k` passages or sessions that fit the question best, as far as
    `budget_tokens` hold them; `passage_words` first splits longer passages at the ends of sentences. `time_bm25`
    searches memories within the question's time range (see `Candidates`). `oracle` shows labelled evidence alone,
    `none` the question alone. `max_tokens` cuts a longer message in the middle as LongBench does; `middle` is `full`
    with that limit. Evidence is never cut: an `oracle` row over `max_tokens` is left out.

    >>> Policy.from_config({"policy": "bm25", "topk": 3}, "suite.context")
    Traceback (most recent call last):
    rlkit.errors.ConfigError: suite.context.topk: no such key for bm25; there are policy, max_tokens, top_k, budget_tokens, passage_words. Did you mean 'top_k'?
    """

    policy: str = "full"
    max_tokens: int | None = None
    top_k: int | None = 5
    budget_tokens: int | None = None
    passage_words: int | None = None
    time_range: str = "rules"
    margin_days: float = 7

    @classmethod
    def from_config(cls, spec: str | Mapping[str, Any] | None, where: str = "context") -> Policy:
        """The policy in a config entry: its name, or a mapping of `policy` and its options; None is `full`.

        >>> Policy.from_config("oracle")
        Policy(oracle)
        """
        given = {"policy": "full" if spec is None else spec} if not isinstance(spec, Mapping) else dict(spec)
        name = given.get("policy")
        if name not in POLICIES:
            raise ConfigError(
                f"{where}.policy: {name!r:.60} is unknown; there are {', '.join(POLICIES)}.{nearest(str(name), POLICIES)}"
            )
        known = ("policy", "max_tokens", *POLICIES[name])
        for key, value in given.items():
            if key not in known:
                raise ConfigError(
                    f"{where}.{key}: no such key for {name}; there are {', '.join(known)}.{nearest(str(key), known)}"
                )
            least = 2 if key == "max_tokens" else 1  # a message cut in the middle has two halves
            if key in _COUNTS and value is not None and (type(value) is not int or value < least):
                raise ConfigError(f"{where}.{key}: {value!r:.60} must be a whole number of at least {least}, or null.")
        if name == "middle" and given.get("max_tokens") is None:
            raise ConfigError(f"{where}.max_tokens: missing; `middle` needs the limit at which it cuts, such as 8192.")
        made = cls(**given)
        made._candidates(where)
        return made

    def apply(self, record: Record, report: Report, count_tokens: CountTokens | None = None) -> Record | None:
        """The record with what is shown of its context; None, counted in `report`, where the policy does not apply.

        Labels stay whole: what retrieval loses is a failure of the system under test. `count_tokens` may be None where
        nothing has a budget.

        >>> passages = [{"title": "", "text": "Bath is a city."}, {"title": "", "text": "Emma is a novel."}]
        >>> row = {"id": "q1", "task": "care", "question": "What is Emma?", "context": passages, "evidence": []}
        >>> Policy("bm25", top_k=1).apply(row, Report())["context"]
        [{'title': '', 'text': 'Emma is a novel.'}]
        """
        if self.policy in ("full", "middle"):
            return record
        refusal = self.refusal(record)
        if refusal is not None:
            report.drop(refusal, record["id"])
            return None
        narrowed = self._narrowed(record, report, count_tokens)
        if narrowed is not None and record.get("prompt"):
            return cast(Record, {**narrowed, "prompt": _PROMPTS[record["source"]](narrowed)})
        return narrowed

    def refusal(self, record: Mapping[str, Any]) -> str | None:
        """Why the policy cannot show a row, which needs neither its passages nor its sessions; None where it can.

        >>> Policy("oracle").refusal({"task": "care", "evidence": []})
        'no evidence is labelled'
        """
        if self.policy in ("full", "middle"):
            return None
        if record.get("prompt") and record.get("source") not in _PROMPTS:
            return f"brings its own prompt, which `{self.policy}` cannot change"
        if self.policy == "oracle" and not record.get("evidence"):
            return "no evidence is labelled"
        if self.policy == "time_bm25" and record.get("task") != "memory_t1":
            return "a row without sessions has no times to search by"
        return None

    def cut(self, messages: Sequence[Mapping[str, str]], tokenizer: Tokenizer | None) -> list[dict[str, str]]:
        """The messages with the last one cut in the middle where it takes more than `max_tokens` tokens.

        LongBench's rule (its `pred.py`): the first and the last `max_tokens // 2` tokens of the prompt, special tokens
        counted, decoded and put together; done before the chat template, as there.
        """
        whole = [dict(message) for message in messages]
        if self.max_tokens is None or self.policy == "oracle":
            return whole
        tokens = _needed(tokenizer, "max_tokens", self.max_tokens).encode(whole[-1]["content"])
        if len(tokens) > self.max_tokens:
            whole[-1]["content"] = cut_middle(tokens, self.max_tokens, cast(Tokenizer, tokenizer))
        return whole

    def _narrowed(self, record: Record, report: Report, count_tokens: CountTokens | None) -> Record | None:
        memory = record.get("task") == "memory_t1"
        if self.policy == "none":
            return cast(Record, {**record, "sessions": []} if memory else {**record, "context": []})
        if self.policy == "oracle":
            return _gold_sessions(record, report) if memory else _gold_passages(record, report)
        if memory:
            return self._sessions(record, report, count_tokens)
        return self._passages(record, report, count_tokens)

    def _candidates(self, where: str = "context") -> Candidates:
        time_range = self.time_range if self.policy == "time_bm25" else "none"
        options = {"top_k": self.top_k, "budget_tokens": self.budget_tokens, "margin_days": self.margin_days}
        return Candidates.from_config({**options, "time_range": time_range}, where)

    def _sessions(self, record: Record, report: Report, count_tokens: CountTokens | None) -> Record | None:
        if self.budget_tokens is not None and count_tokens is None:
            raise ConfigError(_no_tokenizer("budget_tokens", self.budget_tokens))
        narrowed, told = self._candidates().apply(record, count_tokens)
        told.note(report, record["id"])
        if not narrowed["sessions"]:
            report.drop(told.problem or "no session to choose from", record["id"])
            return None
        return cast(Record, {**record, "sessions": narrowed["sessions"]})

    def _passages(self, record: Record, report: Report, count_tokens: CountTokens | None) -> Record:
        passages = record["context"]
        if self.passage_words is not None:
            passages = [piece for passage in passages for piece in pieces(passage, self.passage_words)]
        texts = [passage_text(cast(dict[str, str], passage)) for passage in passages]
        kept: list[int] = []
        tokens = 0
        for position, _ in rank(texts, record["question"])[: self.top_k]:
            if self.budget_tokens is not None:
                if count_tokens is None:
                    raise ConfigError(_no_tokenizer("budget_tokens", self.budget_tokens))
                cost = count_tokens(texts[position] + "\n\n")
                if tokens + cost > self.budget_tokens:
                    continue
                tokens += cost
            kept.append(position)
        if len(kept) < len(passages):
            report.note("passages left out by `bm25`", record["id"])
        # A text is read in its own order, not in that of the ranks.
        shown = [passages[position] for position in sorted(kept)]
        seen = _folded(" ".join(passage["text"] for passage in shown))
        if not all(_folded(fact) in seen for fact in record.get("evidence") or ()):
            report.note("evidence lost to `bm25`", record["id"])
        return cast(Record, {**record, "context": shown})

    def __repr__(self) -> str:
        set_apart = [
            f"{item.name}={value!r}" for item in fields(self)[1:] if (value := getattr(self, item.name)) != item.default
        ]
        return f"Policy({', '.join([self.policy, *set_apart])})"


_COUNTS = ("max_tokens", "top_k", "budget_tokens", "passage_words")


@dataclass(frozen=True)
class Shown:
    """A row as a model is asked: the record that its answer is graded on, and the messages."""

    record: Record
    messages: list[dict[str, str]]


def show(
    record: Record, policy: Policy, prompt: Prompt, subset: str, tokenizer: Tokenizer | None, report: Report
) -> Shown | None:
    """The row under a policy and a prompt; None where the policy does not apply. What becomes of it is counted.

    >>> row = {"id": "q1", "task": "care", "question": "What is Emma?", "context": [{"title": "", "text": "A novel."}]}
    >>> show(row, Policy("none"), Prompt(system=None), "test", None, Report()).messages
    [{'role': 'user', 'content': 'Question: What is Emma?'}]
    """
    count = None if tokenizer is None else (lambda text: len(tokenizer.encode(text, add_special_tokens=False)))
    narrowed = policy.apply(record, report, count)
    if narrowed is None:
        return None
    messages = prompt.messages(narrowed, subset)
    if policy.policy == "oracle" and policy.max_tokens is not None:
        tokens = len(_needed(tokenizer, "max_tokens", policy.max_tokens).encode(messages[-1]["content"]))
        if tokens > policy.max_tokens:
            report.drop("its evidence alone is over max_tokens", record["id"])
            return None
    cut = policy.cut(messages, tokenizer)
    if cut != messages:
        report.note("cut in the middle to max_tokens", record["id"])
    report.keep()
    return Shown(narrowed, cut)


def cut_middle(tokens: list[int], max_tokens: int, tokenizer: Tokenizer) -> str:
    """The first and the last `max_tokens // 2` of the tokens, each half decoded by itself without special tokens."""
    half = max_tokens // 2
    halves = (tokens[:half], tokens[-half:])
    return "".join(tokenizer.decode(part, skip_special_tokens=True) for part in halves)


def pieces(passage: Passage, max_words: int) -> Iterator[Passage]:
    """The passage in pieces of at most `max_words` words that end with a sentence or line; a longer sentence stays whole.

    >>> [piece["text"] for piece in pieces({"title": "", "text": "One two. Three four. Five."}, 3)]
    ['One two.', 'Three four. Five.']
    """
    text = passage["text"]
    start = end = words = 0
    for stop in [*(match.end() for match in _SENTENCE_END.finditer(text)), len(text)]:
        more = len(text[end:stop].split())
        if words and words + more > max_words:
            yield Passage(title=passage["title"], text=text[start:end].strip())
            start, words = end, 0
        end, words = stop, words + more
    if words or start == 0:
        yield Passage(title=passage["title"], text=text[start:].strip())


def _gold_sessions(record: Record, report: Report) -> Record | None:
    gold = {session_key(name) for name in record.get("evidence") or ()}
    sessions = [session for session in record.get("sessions") or () if session_key(session["id"]) in gold]
    if not sessions:
        report.drop("no gold session is in the memory", record["id"])
        return None
    if len({session_key(session["id"]) for session in sessions}) < len(gold):
        report.note("a gold session is not in the memory", record["id"])
    return cast(Record, {**record, "sessions": sessions})


def _gold_passages(record: Record, report: Report) -> Record:
    """Each passage with its labelled facts alone, in the order of its text; a fact of no passage becomes one."""
    facts = list(dict.fromkeys(record.get("evidence") or ()))
    shown: list[Passage] = []
    found: set[str] = set()
    for passage in record["context"]:
        text = _folded(passage["text"])
        here = [(place, fact) for fact in facts if (place := text.find(_folded(fact))) >= 0]
        if here:
            shown.append(Passage(title=passage["title"], text=" ".join(fact for _, fact in sorted(here))))
            found.update(fact for _, fact in here)
    for fact in facts:
        if fact not in found:
            report.note("evidence is in no passage, so it is shown as one", record["id"])
            shown.append(Passage(title="", text=fact))
    return cast(Record, {**record, "context": shown})


def _needed(tokenizer: Tokenizer | None, option: str, value: int) -> Tokenizer:
    if tokenizer is None:
        raise ConfigError(_no_tokenizer(option, value))
    return tokenizer


def _no_tokenizer(option: str, value: int) -> str:
    return (
        f"context.{option}: is {value}, but there is no tokenizer to count with; name one (--tokenizer), set it to null, or "
        "take a context that counts no tokens."
    )


def _folded(text: str) -> str:
    return " ".join(text.split())
