"""One OpenAI-compatible chat endpoint: a vLLM server, `transformers serve` or a hosted API, through the `openai` client.

Knows address, model, sampling settings and retries; refuses to know what is asked and what becomes of the answer. The
key is read from an environment variable, so that no config, log or run folder can hold it.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from rlkit.errors import ConfigError, RlkitError
from rlkit.generation.model import Conversation, Message, Reply

_WAYS_OUT = {
    401: "put a valid key into the variable that key_variable names",
    403: "put a key with access to this model into the variable that key_variable names",
    404: "correct model, or base_url, which usually ends in /v1",
}
Item = TypeVar("Item")
Result = TypeVar("Result")


class EndpointError(RlkitError):
    """An endpoint refused, stayed silent after all retries, or answered with something that is no chat completion."""


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask; plain values only, so it is picklable and its repr is its config.

    `key_variable` is the *name* of the environment variable that holds the key (local servers need none). `sampling`
    passes to `chat.completions.create` under the API's own names. Answers 429, 5xx, timeouts and lost connections are
    tried again `max_retries` times with growing pauses, or the pause that the server asks for.

    >>> Endpoint("http://127.0.0.1:8000/v1", "Qwen/Qwen2.5-7B-Instruct", sampling={"temperature": 0}).concurrency
    8
    """

    base_url: str
    model: str
    key_variable: str | None = None
    sampling: Mapping[str, Any] = field(default_factory=dict)
    concurrency: int = 8
    timeout_seconds: float = 300.0
    max_retries: int = 5

    def __post_init__(self) -> None:
        address = urlsplit(self.base_url)
        if address.scheme not in ("http", "https") or not address.hostname:
            raise ConfigError(
                f"base_url is {address.scheme!r:.20} without a host or not http(s); write http://host:port/v1."
            )
        if address.username or address.password or address.query:
            raise ConfigError("base_url holds a user, a password or a query; put the key into a variable and name it.")
        if not self.model:
            raise ConfigError("model is empty, but the server must know which one to ask; see its /v1/models.")
        for name, least in (("concurrency", 1), ("timeout_seconds", 0), ("max_retries", 0)):
            value = getattr(self, name)
            if not isinstance(value, int | float) or not least <= value < float("inf"):
                raise ConfigError(f"{name} is {value!r}, but must be a number of at least {least}.")
        taken = {"messages", "model", "n", "stream"} & set(self.sampling)
        if taken:
            raise ConfigError(f"sampling sets {', '.join(sorted(taken))}, which the client sets itself; remove it.")

    def ask(self, messages: Iterable[Message]) -> Reply:
        """The answer to one conversation; raises `EndpointError` after the last retry, `ConfigError` without a key."""
        openai = _import_openai()
        key = self._key()
        client = _client(self.base_url, key, self.timeout_seconds, self.max_retries, os.getpid())
        try:
            answer = client.chat.completions.create(model=self.model, messages=list(messages), **self.sampling)
        except openai.APITimeoutError as error:
            raise self._error(f"gave no answer within {self.timeout_seconds:g} s", "raise timeout_seconds") from error
        except openai.APIConnectionError as error:
            raise self._error(f"is out of reach ({error.__cause__})", "start it or correct base_url") from error
        except openai.APIStatusError as error:
            said = str(error.message).replace(key, "(key)") if self.key_variable else error.message
            way_out = _WAYS_OUT.get(error.status_code, "see what it says")
            raise self._error(f"answered {error.status_code}: {said:.300}", way_out) from error
        except (openai.OpenAIError, ValueError) as error:
            raise self._error(f"sent no readable JSON ({error!s:.200})", _WAYS_OUT[404]) from error
        except TypeError as error:
            message = f"sampling: {error}; a setting of this server alone goes under extra_body."
            raise ConfigError(message) from error
        choices = getattr(answer, "choices", None)
        if not choices or getattr(choices[0], "message", None) is None:
            raise self._error("sent no chat completion", _WAYS_OUT[404])
        usage = getattr(answer, "usage", None)
        spent = [getattr(usage, name, 0) or 0 for name in ("prompt_tokens", "completion_tokens")]
        return Reply(choices[0].message.content or "", choices[0].finish_reason or "", *spent)

    @property
    def identity(self) -> str:
        """Model and sampling settings; the address may change without another model behind it."""
        return json.dumps([self.model, dict(self.sampling)], sort_keys=True, default=str)

    def complete(
        self,
        conversations: Iterable[Conversation],
        on_reply: Callable[[int, Reply], None] = lambda number, reply: None,
    ) -> Iterator[Reply]:
        """Replies in the order of the conversations, `concurrency` at a time; see `Model.complete`."""

        def work(numbered: tuple[int, Conversation]) -> Reply:
            number, conversation = numbered
            reply = self.ask(conversation)
            on_reply(number, reply)
            return reply

        return self.each(work, enumerate(conversations))

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results of `work` in the order of the items, `concurrency` at a time; items are drawn as places come free.

        An exception rises in its place, after which nothing new is started.
        """
        waiting: deque[Future[Result]] = deque()
        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint")
        try:
            for item in items:
                waiting.append(pool.submit(work, item))
                if len(waiting) >= 2 * self.concurrency:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _key(self) -> str:
        if self.key_variable is None:
            return "none"  # else the client would send OPENAI_API_KEY to whatever server this is
        key = os.environ.get(self.key_variable, "")
        if not key:
            raise ConfigError(f"the environment variable {self.key_variable} (key_variable) is not set; export it.")
        return key

    def _error(self, happened: str, way_out: str) -> EndpointError:
        return EndpointError(f"{self.model} at {self.base_url} {happened}; {way_out}.")


def _import_openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ConfigError('asking a model needs the openai client: pip install "grounded-rl[llm]".') from error
    return openai


@lru_cache(maxsize=8)
def _client(base_url: str, key: str, timeout_seconds: float, max_retries: int, process: int) -> Any:
    """One client, with its pool of connections, per endpoint and process: a forked child must not share sockets."""
    return _import_openai().OpenAI(base_url=base_url, api_key=key, timeout=timeout_seconds, max_retries=max_retries)
