"""What completes conversations, whatever stands behind it: a local model, vLLM or an endpoint.

Knows the one interface that everything which asks a model uses; refuses to know what is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

Message = Mapping[str, str]
Conversation = Sequence[Message]


@dataclass(frozen=True)
class Reply:
    """One answer: its text, why it stopped ("stop", "length") and the tokens it cost (0 where nobody says)."""

    text: str
    finish_reason: str
    prompt_tokens: int
    completion_tokens: int


class Model(Protocol):
    """Completes conversations with settings of its own.

    `identity` is plain text that changes whenever another answer could come: name or content of the model, and sampling
    settings; what keeps answers keeps them under it.
    """

    @property
    def identity(self) -> str: ...

    def complete(
        self,
        conversations: Iterable[Conversation],
        on_reply: Callable[[int, Reply], None] = lambda number, reply: None,
    ) -> Iterator[Reply]:
        """Replies in the order of the conversations, which are drawn as places come free.

        `on_reply` is told a conversation's number, from 0, and its reply the moment that it is there, in whatever order
        and thread that is; a reply is yielded only after it.
        """
        ...
