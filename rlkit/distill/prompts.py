"""What the two models are asked, and how their replies are read.

Knows words only; refuses to know which model answers and whether the answer is right.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from rewards.parse_care import ANSWER, END_RETRIEVAL, END_THINK, RETRIEVAL, THINK
from rewards.sample import strip_chat_tokens
from rlkit.generation.model import Conversation
from rlkit.prompts import chat_prompt

REASONER = """\
Answer the question from the passages. First reason step by step: say which facts of which passages you use and how they
lead to the answer. Use nothing that the passages do not say. Then write the final answer on the last line, as short as
possible and with nothing after it:
Answer: the answer"""

INJECTOR = """\
You work evidence into a line of reasoning. You get a question, the reasoning that answers it, and numbered facts.
Rewrite the reasoning so that it quotes every fact where it is used:
- Copy each fact whole and word for word: every name, number, date and sign of it, no shortening, no correction.
- Quote every fact once, as a sentence of its own. Never put one fact inside another.
- Keep the steps and the conclusion of the reasoning. Do not mention that facts were given, and do not number them.
Write the rewritten reasoning and nothing else: no heading, no comment, no tags, no line with the answer."""

# An answer at the beginning of a line, however marked up, or the format's own word for it anywhere.
_ANSWER_LINE = re.compile(r"(?m)^[ \t*#>_-]{0,8}(?i:(?:the )?(?:final )?answer)[*_ ]{0,3}:|Answer:")
_FENCE_LINE = re.compile(r"(?m)^[ \t]{0,8}```[^`\n]*$")
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_MARKUP = re.compile(
    r"<\|[^<>|\n]{1,40}\|>|<｜[^<>｜\n]{1,40}｜>|</?s>|<(?:eos|bos|pad|unk|end_of_turn|start_of_turn)>"
    r"|\[/?INST\]|\[PAD\]|<</?SYS>>"
)
_NEARLY_A_TAG = re.compile(r"[<\[]\s{0,8}/?\s{0,8}(?:retrieval|think)\b[^<>\[\]\n]{0,40}[>\]]", re.IGNORECASE)


class Reasoning(NamedTuple):
    """A reasoner's reply: its reasoning, and its final answer or `None`."""

    text: str
    answer: str | None


def ask_reasoner(record: Mapping[str, Any], instructions: str = REASONER) -> Conversation:
    """The messages that ask for an answer with its reasoning."""
    return chat_prompt(record, instructions)


def ask_injector(
    record: Mapping[str, Any], reasoning: str, facts: Sequence[str], instructions: str = INJECTOR
) -> Conversation:
    """The messages that ask for the reasoning with all facts in it.

    >>> ask_injector({"question": "Who wrote Emma?"}, "Jane Austen did.", ["Emma is by Jane Austen."])[1]["content"]
    'Question: Who wrote Emma?\\n\\nReasoning:\\nJane Austen did.\\n\\nFacts:\\n1. Emma is by Jane Austen.'
    """
    numbered = "\n".join(f"{number}. {fact}" for number, fact in enumerate(facts, 1))
    body = f"Question: {record['question']}\n\nReasoning:\n{reasoning}\n\nFacts:\n{numbered}"
    return [{"role": "system", "content": instructions}, {"role": "user", "content": body}]


def read_reasoning(reply: str) -> Reasoning:
    """Reasoning and answer of a reply: the draft in think tags, if there is one, else what stands before `Answer:`.

    >>> read_reasoning("<think>Austen did.</think>**Answer:** Jane Austen")
    Reasoning(text='Austen did.', answer='Jane Austen')
    >>> read_reasoning("Austen wrote it.\\nAnswer: Jane Austen.")
    Reasoning(text='Austen wrote it.', answer='Jane Austen.')
    >>> read_reasoning("<think>Austen, Answer: I think").answer is None
    True
    """
    draft, closed, rest = strip_chat_tokens(reply).rpartition(END_THINK)
    if not closed and THINK in rest:
        return Reasoning(rest.replace(THINK, "").strip(), None)  # cut off while it was thinking
    before, found, answer = rest.rpartition(ANSWER)
    text = (draft or before).replace(THINK, "").replace(END_THINK, "")
    return Reasoning(text.strip().rstrip("*#").rstrip(), answer.strip().strip("*").strip() or None if found else None)


def read_rewritten(reply: str) -> str:
    """The rewritten reasoning of a reply, without the model's own draft, a code fence around it and retrieval tags.

    >>> read_rewritten("<think>Hm.</think>\\n```\\n<retrieval>Emma is by Austen.</retrieval> So Austen.\\n```")
    'Emma is by Austen. So Austen.'
    """
    text = strip_chat_tokens(reply).rpartition(END_THINK)[2].strip()
    for tag in (RETRIEVAL, END_RETRIEVAL):
        text = text.replace(tag, "")
    if text.startswith("```") and text.endswith("```") and "\n" in text:
        text = text[text.index("\n") : -3]
    return text.strip()


def cut_answer(text: str, quoted: Sequence[tuple[int, int]] = ()) -> Reasoning:
    """A rewritten text before its first answer, and that answer or `None`; `quoted` stretches hold no answer.

    >>> cut_answer("So Austen.\\n**Final answer:** Jane Austen")
    Reasoning(text='So Austen.', answer='Jane Austen')
    >>> cut_answer("Her answer was: Emma.").answer is None
    True
    """
    for found in _ANSWER_LINE.finditer(text):
        if not any(start <= found.start() < end for start, end in quoted):
            before = text[: found.start()].rstrip().rstrip("*#").rstrip()
            return Reasoning(before, text[found.end() :].strip().strip("*").strip())
    return Reasoning(text, None)


def fenced_blocks(text: str) -> list[str]:
    """What stands between each pair of code fences.

    >>> fenced_blocks("Sure, here it is:\\n```text\\nSo Austen.\\n```\\nI hope this helps.")
    ['So Austen.']
    """
    parts = _FENCE_LINE.split(text)
    return [part.strip() for part in parts[1:-1:2]]


def stray_markup(reply: str) -> str:
    """What in a rewritten reply belongs in no training row, in words; empty = nothing.

    Control characters, chat tokens between words (those at the ends are stripped) and what is nearly a CARE tag.

    >>> stray_markup("So Austen.<|im_end|>\\nuser"), stray_markup("So Austen.<|im_end|>")
    ("chat token '<|im_end|>'", '')
    >>> stray_markup("< retrieval >Emma</retrieval>")
    "nearly a tag '< retrieval >'"
    """
    text = reply.rpartition(END_THINK)[2].replace(RETRIEVAL, "").replace(END_RETRIEVAL, "")
    if found := _CONTROL.search(text):
        return f"control character {found.group()!r}"
    if sum(bool(part.strip()) for part in _MARKUP.split(text)) > 1 and (found := _MARKUP.search(text)):
        return f"chat token {found.group()!r}"
    found = _NEARLY_A_TAG.search(text)
    return f"nearly a tag {found.group()!r}" if found else ""
