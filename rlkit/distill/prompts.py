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
