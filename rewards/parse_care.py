"""The CARE output format, read once: `<think> ... <retrieval>quote</retrieval> ... </think> ... Answer: answer`.

Finds what a completion quotes and answers, and says in words where it leaves the format. Plain searches that never go
back, so 100,000 unclosed tags cost milliseconds. Knows no context, no gold answer and no chat markup.
"""

from __future__ import annotations

from dataclasses import dataclass

THINK, END_THINK = "<think>", "</think>"
RETRIEVAL, END_RETRIEVAL = "<retrieval>", "</retrieval>"
ANSWER = "Answer:"


@dataclass(frozen=True)
class CareOutput:
    """What a completion holds.

    `think`: the text of the think block, `None` without a closed one. `spans`: the quotes in it, in order, as written;
    of nested tags the innermost pair. `answer`: what follows the last `Answer:` behind the last `</think>`, `None`
    without one. `problems`: each way in which the format is broken, in words; empty = well formed.
    """

    think: str | None = None
    spans: tuple[str, ...] = ()
    answer: str | None = None
    problems: tuple[str, ...] = ()


def parse_care(text: str) -> CareOutput:
    """The quotes, the answer and the format problems of a completion; linear in the text, never raises (CARE, section 3).

    >>> parse_care("<think>See <retrieval>Emma is by Jane Austen.</retrieval></think> Answer: Jane Austen").spans
    ('Emma is by Jane Austen.',)
    >>> parse_care("Answer: Jane Austen").problems
    ('0 times <think>, but once is the format', '0 times </think>, but once is the format', \
'no quote in the think block', '0 times Answer: behind </think>, but once is the format')
    """
    problems = [
        f"{count} times {tag}, but once is the format" for tag in (THINK, END_THINK) if (count := text.count(tag)) != 1
    ]
    think: str | None = None
    spans: list[str] = []
    start = text.find(THINK)
    if start >= 0:
        if text[:start].strip():
            problems.append(f"text before {THINK}")
        start += len(THINK)
        end = text.find(END_THINK, start)
        if end >= 0:
            think = text[start:end]
            spans = _spans(think)
        else:
            problems.append(f"{THINK} is not closed")
    problems += _span_problems(text, think or "", spans)
    answer = _answer(text, problems)
    return CareOutput(think, tuple(spans), answer, tuple(problems))


def _spans(think: str) -> list[str]:
    spans = []
    position = 0
    while (end := think.find(END_RETRIEVAL, position)) >= 0:
        start = think.rfind(RETRIEVAL, position, end)
        if start >= 0:
            spans.append(think[start + len(RETRIEVAL) : end])
        position = end + len(END_RETRIEVAL)
    return spans


def _span_problems(text: str, think: str, spans: list[str]) -> list[str]:
    problems = []
    inside = think.count(RETRIEVAL) + think.count(END_RETRIEVAL)
    if outside := text.count(RETRIEVAL) + text.count(END_RETRIEVAL) - inside:
        problems.append(f"{outside} retrieval tags outside the think block")
    if unpaired := inside - 2 * len(spans):
        problems.append(f"{unpaired} retrieval tags without their partner")
    if not any(any(map(str.isalnum, span)) for span in spans):
        problems.append("only empty quotes in the think block" if spans else "no quote in the think block")
    return problems


def _answer(text: str, problems: list[str]) -> str | None:
    closed = text.rfind(END_THINK)
    behind = "" if closed < 0 else text[closed + len(END_THINK) :]
    count = behind.count(ANSWER)
    if count != 1:
        problems.append(f"{count} times {ANSWER} behind {END_THINK}, but once is the format")
    if not count:
        return None
    answer = behind.rpartition(ANSWER)[2].strip()
    if not answer:
        problems.append(f"nothing after {ANSWER}")
    return answer
