"""Chat prompts: a record in, messages out. The model's own chat template turns them into text.

Knows the CARE output format in words (`memory.prompt` knows that of Memory-T1); knows no tokenizer and no reward.
Passages and question stay apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rlkit.memory.prompt import MEMORY_SYSTEM, memory_body

CARE_SYSTEM = (
    "Answer the question from the passages. First think inside <think> and </think>. Whenever you use a fact, copy it "
    "word for word from the passages between <retrieval> and </retrieval> inside the think block. After </think>, write "
    "'Answer:' and the final answer, as short as possible.\n"
    "Example: <think>The author is asked for. <retrieval>Emma is an 1815 novel by Jane Austen.</retrieval> So it is "
    "Jane Austen.</think> Answer: Jane Austen"
)

_SYSTEM = {"care": CARE_SYSTEM, "memory_t1": MEMORY_SYSTEM}


def chat_prompt(record: Mapping[str, Any], system: str | None = "default") -> list[dict[str, str]]:
    """The messages that ask a model for this record's answer.

    `system` is `"default"` for the task's own instructions, `None` for no system message, or text of the caller's.

    >>> row = {"task": "care", "context": [{"title": "Emma", "text": "Emma is a novel."}], "question": "What is Emma?"}
    >>> chat_prompt(row, system=None)
    [{'role': 'user', 'content': 'Emma\\nEmma is a novel.\\n\\nQuestion: What is Emma?'}]
    """
    task = record.get("task") or "care"
    body = memory_body(record) if task == "memory_t1" else _care_body(record)
    messages = [{"role": "user", "content": body}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": _SYSTEM[task] if system == "default" else system})
    return messages


def prompt_of(record: Mapping[str, Any], system: str | None) -> list[dict[str, str]]:
    """The record's own `prompt` messages if it brings some, else those made from its fields."""
    return record.get("prompt") or chat_prompt(record, system)


def passage_text(passage: Mapping[str, Any]) -> str:
    """How one passage stands in the prompt: its title on a line of its own, if it has one."""
    return f"{passage['title']}\n{passage['text']}" if passage.get("title") else passage["text"]


def _care_body(record: Mapping[str, Any]) -> str:
    passages = [passage_text(passage) for passage in record.get("context") or ()]
    return "\n\n".join([*passages, f"Question: {record['question']}"])
