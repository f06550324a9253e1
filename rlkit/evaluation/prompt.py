"""How a suite asks: our own messages, or a published template filled with context and question.

Knows records and templates; knows no tokenizer and no model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rlkit.data.longbench import context_text
from rlkit.data.record import Record
from rlkit.errors import ConfigError, nearest
from rlkit.memory.prompt import session_text
from rlkit.prompts import prompt_of

PLACES = ("context", "question")
_PLACE = re.compile(r"\{([A-Za-z_]{1,30})\}")


@dataclass(frozen=True)
class Prompt:
    """The section `prompt:` of a suite.

    `system` is "default" for the task's own instructions, None for no system message, or text. `user` is a template
    with `{context}` and `{question}`, or one for each subset; None asks with our own user message.

    >>> row = {"task": "care", "context": [{"title": "Emma", "text": "Emma is a novel."}], "question": "What is Emma?"}
    >>> Prompt(system=None, user="{context}\\nQ: {question}").messages(row)
    [{'role': 'user', 'content': 'Emma\\nEmma is a novel.\\nQ: What is Emma?'}]
    """

    system: str | None = "default"
    user: str | Mapping[str, str] | None = None

    @classmethod
    def from_config(cls, section: Mapping[str, Any] | None, where: str = "prompt") -> Prompt:
        """The prompt in a suite's section; raises `ConfigError` for an unknown key or place in a template.

        >>> Prompt.from_config({"user": "{contxt} {question}"})
        Traceback (most recent call last):
        rlkit.errors.ConfigError: prompt.user: {contxt} is no place to fill; there are {context}, {question}. Did you mean 'context'?
        """
        if section is not None and not isinstance(section, Mapping):
            raise ConfigError(
                f"{where}: is {section!r:.60}, but must be a mapping such as {{system: null, user: TEXT}}."
            )
        given = dict(section or {})
        for key, value in given.items():
            if key not in ("system", "user"):
                raise ConfigError(
                    f"{where}.{key}: no such key; there are system, user.{nearest(str(key), ('system', 'user'))}"
                )
            by_subset = key == "user" and isinstance(value, Mapping)
            for name, text in value.items() if by_subset else [("", value)]:
                _check(text, f"{where}.{key}" + (f".{name}" if name else ""), template=key == "user")
        return cls(**given)

    def messages(self, record: Record | Mapping[str, Any], subset: str = "") -> list[dict[str, str]]:
        """The messages that ask this record; a `prompt` of its own goes first, as in training.

        Raises `ConfigError` where there are templates by subset and none for this one.
        """
        template = self.user
        if isinstance(template, Mapping):
            if subset not in template:
                raise ConfigError(f"prompt.user: has no template for {subset!r}; there are {', '.join(template)}.")
            template = template[subset]
        if template is None or record.get("prompt"):
            return prompt_of(record, self.system)
        filled = {"context": _context(record), "question": record["question"]}
        asked = {"role": "user", "content": _PLACE.sub(lambda match: filled[match[1]], template)}
        system = prompt_of({**record, "context": [], "sessions": []}, self.system)[:-1]
        return [*system, asked]


def _check(text: Any, where: str, template: bool) -> None:
    if text is not None and not isinstance(text, str):
        raise ConfigError(f"{where}: is {text!r:.60}, but must be text or null.")
    if template and text is not None:
        places = _PLACE.findall(text)
        for place in places:
            if place not in PLACES:
                known = ", ".join(f"{{{name}}}" for name in PLACES)
                raise ConfigError(
                    f"{where}: {{{place}}} is no place to fill; there are {known}.{nearest(place, PLACES)}"
                )
        if "question" not in places:
            raise ConfigError(f"{where}: without {{question}} nothing is asked; add it to the template.")


def _context(record: Mapping[str, Any]) -> str:
    if record.get("task") == "memory_t1":
        return "\n\n".join(session_text(session) for session in record.get("sessions") or ())
    return context_text(record)
