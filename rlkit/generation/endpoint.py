"""One OpenAI-compatible chat endpoint: a vLLM server, `transformers serve` or a hosted API, through the `openai` client.

Knows address, model, sampling settings and retries; refuses to know what is asked and what becomes of the answer. The
key is read from an environment variable, so that no config, log or run folder can hold it.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import logging
import os
import re
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeVar
from urllib.parse import urlsplit

from rlkit.errors import ConfigError, RlkitError, nearest
from rlkit.generation.model import Conversation, Message, Reply

REFUSED, FAILED = "refused", "failed"  # finish reasons of requests that `tolerate` lets pass
UNANSWERED = (REFUSED, FAILED)
FORBIDDEN = "forbidden"  # a 403: a wrong key, or, once the endpoint has answered, a refusal of one request
WINDOW = (
    8  # for each place at the endpoint so many items may be under way or done, so that a slow one holds up no others
)
MAX_TOKENS = 10**9  # of one answer; a server that counts more would spoil every sum
_REFUSALS = (400, 413, 422)  # the server says no to this one request: too long, filtered
_WAYS_OUT = {
    401: "put a valid key into the variable that key_variable names",
    403: "put a key with access to this model into the variable that key_variable names",
    404: "correct model, or base_url, which usually ends in /v1",
}
_CONTENT = re.compile("content|moderat|flagged", re.IGNORECASE)  # what a 403 says that is about this one request
_OPTIONS = {"extra_headers": "headers", "extra_query": "params", "extra_body": "extra_json", "timeout": "timeout"}
_TOLD = ("Lang", "Package-Version", "OS", "Arch", "Runtime", "Runtime-Version", "Async")
_log = logging.getLogger(__name__)
_attempt = threading.local()  # how often the request of this thread was sent again
Item = TypeVar("Item")
Result = TypeVar("Result")


class EndpointError(RlkitError):
    """An endpoint refused, stayed silent after all retries, or answered with something that is no chat completion.

    `about` says what else may work: "" where no request can, `REFUSED` or `FAILED` where another one may, `FORBIDDEN`
    where another one may if any was answered. `number` is that of the conversation, from 0, where it may be about it alone.
    """

    number: int | None = None

    def __init__(self, message: str, about: str = "") -> None:
        super().__init__(message)
        self.about = about


@dataclass(frozen=True)
class Answer(Reply):
    """The reply of an endpoint, and how often the request was sent again before it came."""

    retries: int = 0


@dataclass(frozen=True)
class Endpoint:
    """Where and how to ask; plain values only, so it is picklable and its repr is its config.

    `key_variable` is the *name* of the environment variable that holds the key (local servers need none). `sampling`
    has the settings of `chat.completions.create` under the API's own names; what one server alone knows stands under
    `extra_body`. Answers 429, 5xx, timeouts and lost connections are tried again `max_retries` times with growing
    pauses, or the pause that the server asks for. `timeout_seconds` bounds each wait for the next byte, not the answer.

    `complete` lets pass up to `tolerate` requests in a row that the server refuses for what is in them (400, 413, 422; 403
    where it names the content or comes after an answer) or does not answer as it should after all retries: each becomes a
    reply with finish reason "refused" or "failed" and what happened as its text. With 0, and for anything that no request
    can get past, it is an error.

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
    tolerate: int = 0

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
        if self.timeout_seconds == 0:
            raise ConfigError("timeout_seconds is 0, so that no answer could come; give the seconds, more than 0.")
        for name, least in (("concurrency", 1), ("timeout_seconds", 0), ("max_retries", 0), ("tolerate", 0)):
            value = getattr(self, name)
            kinds = (int, float) if name == "timeout_seconds" else (int,)
            if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value < float("inf"):
                what = "a number" if name == "timeout_seconds" else "a whole number"
                raise ConfigError(f"{name} is {value!r}, but must be {what} of at least {least}.")
        taken = {"messages", "model", "n", "stream"} & set(self.sampling)
        if taken:
            raise ConfigError(f"sampling sets {', '.join(sorted(taken))}, which the client sets itself; remove it.")

    def check(self) -> None:
        """Raise the `ConfigError` that the first request would: no client, no key, a setting that the API lacks."""
        _check_names(tuple(self.sampling))
        self._key()

    def ask(self, messages: Iterable[Message]) -> Answer:
        """The answer to one conversation; raises `EndpointError` after the last retry, `ConfigError` without a key.

        A draft that the server keeps apart (`reasoning_content`, `reasoning`) stands before the text in think tags.
        """
        openai = _import_openai()
        key = self._key()
        client = _client(self.base_url, key, self.timeout_seconds, self.max_retries, os.getpid())
        settings = dict(self.sampling)
        _check_names(tuple(settings))
        options = {_OPTIONS[name]: settings.pop(name) for name in _OPTIONS if name in settings}
        body = {"model": self.model, "messages": list(messages), **settings}
        _attempt.number = 0
        try:
            # Not `chat.completions.create`: its checks of each message and answer cost as much again as the request.
            answer = client.post("/chat/completions", cast_to=object, body=body, options=options)
        except openai.APITimeoutError as error:
            happened = f"gave no answer within {self.timeout_seconds:g} s"
            raise self._error(happened, "raise timeout_seconds", FAILED) from error
        except openai.APIConnectionError as error:
            about = "" if type(error.__cause__).__name__ == "ConnectError" else FAILED
            raise self._error(f"is out of reach ({error.__cause__})", "start it or correct base_url", about) from error
        except openai.APIStatusError as error:
            said = str(error.message).replace(key, "(key)") if self.key_variable else error.message
            status = error.status_code
            about = REFUSED if status in _REFUSALS else FAILED if status in (408, 409, 429) or status >= 500 else ""
            if status == 403:
                about = REFUSED if _CONTENT.search(str(said)) else FORBIDDEN
            way_out = _WAYS_OUT.get(status, "see what it says")
            raise self._error(f"answered {status}: {said:.300}", way_out, about) from error
        except (openai.OpenAIError, ValueError, RecursionError) as error:
            raise self._error(f"sent no readable JSON ({error!s:.200})", _WAYS_OUT[404], FAILED) from error
        return self._read(answer)

    def _read(self, answer: Any) -> Answer:
        if isinstance(answer, dict) and answer.get("error"):  # some servers tell of errors with status 200
            said = str(answer["error"]).replace(self._key(), "(key)") if self.key_variable else str(answer["error"])
            raise self._error(f"answered with an error: {said:.300}", "see what it says", FAILED)
        try:
            choice, usage = answer["choices"][0], answer.get("usage") or {}
            message = choice["message"]
            text = _text(message.get("content"))
            draft = message.get("reasoning_content") or message.get("reasoning")
            if isinstance(draft, str) and "</think>" not in text:
                text = f"<think>{draft}" + (f"</think>\n{text}" if text else "")
            text = text.encode("utf-8", "replace").decode()  # half a surrogate pair is no text that can be kept
            prompt, completion = (
                min(max(int(usage.get(name) or 0), 0), MAX_TOKENS) for name in ("prompt_tokens", "completion_tokens")
            )
            ended = str(choice.get("finish_reason") or "").encode("utf-8", "replace").decode()
            reply = Answer(text, ended, prompt, completion, _attempt.number)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError, OverflowError, RecursionError) as error:
            raise self._error("sent no chat completion", _WAYS_OUT[404], FAILED) from error
        if ended == "error":
            raise self._error("broke off with finish reason error", "ask again later", FAILED)
        return reply

    @property
    def identity(self) -> str:
        """Model and sampling settings; the address may change without another model behind it."""
        return json.dumps([self.model, dict(self.sampling)], sort_keys=True, default=str)

    def complete(
        self,
        conversations: Iterable[Conversation],
        on_reply: Callable[[int, Reply], None] = lambda number, reply: None,
    ) -> Iterator[Answer]:
        """Replies in the order of the conversations, `concurrency` at a time; see `Model.complete`."""
        without_answer = 0  # requests in a row
        answered = False  # whether any was
        lock = threading.Lock()

        def work(numbered: tuple[int, Conversation]) -> Answer:
            nonlocal without_answer, answered
            number, conversation = numbered
            try:
                reply = self.ask(conversation)
            except EndpointError as error:
                with lock:
                    without_answer += 1
                    about = error.about if error.about != FORBIDDEN else REFUSED if answered else ""
                    if not about or without_answer > self.tolerate:
                        error.number = number if about else None
                        raise
                reply = Answer(str(error), about, 0, 0, _attempt.number)
            else:
                with lock:
                    without_answer, answered = 0, True
            on_reply(number, reply)
            return reply

        return self.each(work, enumerate(conversations))

    def each(self, work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Results of `work` in the order of the items, `concurrency` at a time; items are drawn as places come free.

        An exception rises in its place, after which nothing new is started; what is under way is waited for.
        """
        waiting: deque[Future[Result]] = deque()
        failed = threading.Event()

        def start(item: Item) -> Result:
            if failed.is_set():  # this one comes after the one that failed, so nobody will see it
                raise CancelledError
            try:
                return work(item)
            except BaseException:
                failed.set()
                raise

        pool = ThreadPoolExecutor(self.concurrency, thread_name_prefix="endpoint", initializer=_share_one_core)
        try:
            for item in items:
                waiting.append(pool.submit(start, item))
                if failed.is_set():
                    break
                while waiting and (waiting[0].done() or len(waiting) >= WINDOW * self.concurrency):
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        except KeyboardInterrupt:
            _log.warning("waiting for the answers under way from %s; interrupt again to leave them", self.base_url)
            raise
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _key(self) -> str:
        if self.key_variable is None:
            return "none"  # else the client would send OPENAI_API_KEY to whatever server this is
        key = os.environ.get(self.key_variable, "")
        if not key:
            raise ConfigError(f"the environment variable {self.key_variable} (key_variable) is not set; export it.")
        return key

    def _error(self, happened: str, way_out: str, about: str = "") -> EndpointError:
        return EndpointError(f"{self.model} at {self.base_url} {happened}; {way_out}.", about)


def _text(content: Any) -> str:
    """The text of a message's content: text, nothing, or a list of parts; raises `TypeError` for all else."""
    if isinstance(content, list):
        return "".join(_text(part.get("text")) for part in content if part.get("type", "text") == "text")
    if isinstance(content, str) or content is None:
        return content or ""
    raise TypeError(f"content is {type(content).__name__}")


def _share_one_core() -> None:
    """Keep this thread on the core of its pool's other threads, which could not run at the same time anyway.

    Spread over several cores, threads that wait for the interpreter's lock cost half as much again as the requests.
    """
    if hasattr(os, "sched_setaffinity"):
        with contextlib.suppress(OSError):
            cores = sorted(os.sched_getaffinity(0))
            os.sched_setaffinity(0, {cores[os.getpid() % len(cores)]})


def _import_openai() -> Any:
    try:
        import openai
    except ImportError as error:
        raise ConfigError('asking a model needs the openai client: pip install "grounded-rl[llm]".') from error
    return openai


@lru_cache(maxsize=8)
def _client(base_url: str, key: str, timeout_seconds: float, max_retries: int, process: int) -> Any:
    """One client, with its pool of connections, per endpoint and process: a forked child must not share sockets."""
    openai = _import_openai()
    http = openai.DefaultHttpxClient(event_hooks={"request": [_note_attempt]}, timeout=timeout_seconds)
    # What the client tells of this machine with every request costs a tenth of the request, and is nobody's business.
    untold = {f"X-Stainless-{name}": openai.Omit() for name in _TOLD} if hasattr(openai, "Omit") else {}
    client = openai.OpenAI(
        base_url=base_url,
        api_key=key,
        timeout=timeout_seconds,
        max_retries=max_retries,
        http_client=http,
        default_headers=untold,
    )
    weakref.finalize(client, http.close)
    return client


def _note_attempt(request: Any) -> None:
    _attempt.number = int(request.headers.get("x-stainless-retry-count") or 0)


@lru_cache(maxsize=32)
def _check_names(names: tuple[str, ...]) -> None:
    """Raise `ConfigError` for a setting that the client does not know: a server may silently ignore it."""
    create = _import_openai().resources.chat.completions.Completions.create
    known = list(inspect.signature(create).parameters)
    for name in names:
        if name not in known:
            raise ConfigError(
                f"sampling: {name}: the API has no such setting.{nearest(name, known)} One of this server alone goes under "
                "extra_body."
            )
