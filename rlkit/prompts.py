"""Chat prompts: a record in, messages out. The model's own chat template turns them into text.

Knows the two output formats in words; knows no tokenizer and no reward. Passages and question stay apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

CARE_SYSTEM = (
    "Answer the question from the passages. First think inside <think> and </think>. Whenever you use a fact, copy it "
    "word for word from the passages between <retrieval> and </retrieval> inside the think block. After </think>, write "
    "'Answer:' and the final answer, as short as possible.\n"
    "Example: <think>The author is asked for. <retrieval>Emma is an 1815 novel by Jane Austen.</retrieval> So it is "
    "Jane Austen.</think> Answer: Jane Austen"
)

MEMORY_SYSTEM = (
    "Answer the question from the dialogue sessions. What is said on one day may have happened on another; resolve "
    "words such as 'last week' against the day on which they were said. Reply with one JSON object and nothing else: "
    '{"selected_memory": ["session_1", ...], "answer": "..."}. selected_memory names every session that the answer needs '
    "and no other.\n"
    "How to write the answer: for a choice, the letter or letters of the right options; for a time, the date or the "
    "date and time; for a duration, numbers with units such as '2 weeks 3 days'; for an order, the numbers of the items "
    "in order such as '(2)(1)(3)'; otherwise a few words."
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
    body = _memory_body(record) if task == "memory_t1" else _care_body(record)
    messages = [{"role": "user", "content": body}]
    if system is not None:
        messages.insert(0, {"role": "system", "content": _SYSTEM[task] if system == "default" else system})
    return messages


def passage_text(passage: Mapping[str, Any]) -> str:
    """How one passage stands in the prompt: its title on a line of its own, if it has one."""
    return f"{passage['title']}\n{passage['text']}" if passage.get("title") else passage["text"]


def _care_body(record: Mapping[str, Any]) -> str:
    passages = [passage_text(passage) for passage in record.get("context") or ()]
    return "\n\n".join([*passages, f"Question: {record['question']}"])


def _memory_body(record: Mapping[str, Any]) -> str:
    blocks = []
    for session in record.get("sessions") or ():
        lines = [f"{session['id']} ({session.get('date') or 'no date'})"]
        for utterance in session.get("utterances") or ():
            time = f"[{utterance['time']}] " if utterance.get("time") else ""
            lines.append(f"{time}{utterance.get('speaker') or '?'}: {utterance.get('text') or ''}")
        blocks.append("\n".join(lines))
    asked = f"\nAsked at: {record['asked_at']}" if record.get("asked_at") else ""
    return "\n\n".join([*blocks, f"Question: {record['question']}{asked}"])
