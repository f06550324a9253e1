"""The CARE output format, read once: `<think> ... <retrieval>quote</retrieval> ... </think> ... Answer: answer`.

Finds what a completion quotes and answers and says in words where it leaves the format. One pass over the tags, so
100,000 unclosed ones cost milliseconds. Knows no context, no gold answer and no chat markup.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_TAG = re.compile(r"</?(?:think|retrieval)>")
_ANSWER = "Answer:"


@dataclass(frozen=True)
class CareOutput:
    """What a completion holds.

    `think`: the text of the think block, `None` without a closed one. `spans`: the quotes in it, in order, as written;
    a tag pair with another tag between does not make a quote. `answer`: what follows the last `Answer:` behind the last
    `</think>`, `None` without one. `problems`: each way in which the format is broken; empty = well formed.
    """

    think: str | None = None
    spans: tuple[str, ...] = ()
    answer: str | None = None
    problems: tuple[str, ...] = ()


def parse_care(text: str) -> CareOutput:
    """The completion's quotes, answer and format problems, in time linear in the text; never raises (CARE, section 3).

    >>> parse_care("<think>See <retrieval>Emma is by Jane Austen.</retrieval></think> Answer: Jane Austen")
    CareOutput(think='See <retrieval>Emma is by Jane Austen.</retrieval>', spans=('Emma is by Jane Austen.',), \
answer='Jane Austen', problems=())
    >>> parse_care("Answer: Jane Austen").problems
    ('no <think> block', 'no quote in the think block', 'no Answer: behind </think>')
    """
    tags = [(match.group(), match.start(), match.end()) for match in _TAG.finditer(text)]
    problems: list[str] = []
    block = _think_block(text, tags, problems)
    spans = _spans(text, tags, block, problems)
    answer = _answer(text, tags, problems)
    think = None if block is None else text[block[0] : block[1]]
    return CareOutput(think, spans, answer, tuple(problems))


_Tag = tuple[str, int, int]


def _think_block(text: str, tags: list[_Tag], problems: list[str]) -> tuple[int, int] | None:
    """Offsets of the text between the first `<think>` and the first `</think>` behind it."""
    opened = [(start, end) for tag, start, end in tags if tag == "<think>"]
    closed = [start for tag, start, _ in tags if tag == "</think>"]
    if not opened and not closed:
        problems.append("no <think> block")
        return None
    if len(opened) != 1 or len(closed) != 1:
        problems.append(f"{len(opened)} <think> and {len(closed)} </think> tags, but one of each is the format")
    if not opened:
        return None
    before, start = opened[0]
    if text[:before].strip():
        problems.append("text before <think>")
    end = next((position for position in closed if position >= start), None)
    if end is None:
        problems.append("no </think> behind <think>")
        return None
    return start, end


def _spans(text: str, tags: list[_Tag], block: tuple[int, int] | None, problems: list[str]) -> tuple[str, ...]:
    first, last = block or (len(text), len(text))
    spans: list[str] = []
    opened: int | None = None
    outside = unpaired = 0
    for tag, start, end in tags:
        if not tag.endswith("retrieval>"):
            unpaired += opened is not None
            opened = None
        elif start < first or start >= last:
            outside += 1
        elif tag == "<retrieval>":
            unpaired += opened is not None
            opened = end
        elif opened is None:
            unpaired += 1
        else:
            spans.append(text[opened:start])
            opened = None
    if outside:
        problems.append(f"{outside} retrieval tags outside the think block")
    if unpaired:
        problems.append(f"{unpaired} retrieval tags without their partner")
    if not any(any(map(str.isalnum, span)) for span in spans):
        problems.append("only empty quotes in the think block" if spans else "no quote in the think block")
    return tuple(spans)


def _answer(text: str, tags: list[_Tag], problems: list[str]) -> str | None:
    end_of_thought = next((end for tag, _, end in reversed(tags) if tag == "</think>"), len(text))
    count = text.count(_ANSWER, end_of_thought)
    if not count:
        problems.append(f"no {_ANSWER} behind </think>")
        return None
    if count > 1:
        problems.append(f"{count} times {_ANSWER} behind </think>, but one is the format")
    answer = text[text.rindex(_ANSWER, end_of_thought) + len(_ANSWER) :].strip()
    if not answer:
        problems.append(f"nothing after {_ANSWER}")
    return answer
