"""An OpenAI-compatible HTTP server on loopback that answers by a script and remembers every request.

One event loop in a thread: quick enough for hundreds of calls a second, and no answer waits for another.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

Body = Mapping[str, Any]


class Say(NamedTuple):
    """One scripted answer. `raw` replaces the JSON body; `hang_up` closes the connection in place of an answer."""

    text: str | None = ""
    status: int = 200
    finish_reason: str = "stop"
    delay_seconds: float = 0.0
    raw: bytes | None = None
    hang_up: bool = False
    message: Mapping[str, Any] = {}

    def body(self, asked: Body) -> bytes:
        if self.raw is not None:
            return self.raw
        if self.status != 200:
            return json.dumps({"error": {"message": self.text}}).encode()
        choice = {"index": 0, "finish_reason": self.finish_reason, "message": {"content": self.text, **self.message}}
        prompt = sum(len(message["content"].split()) for message in asked["messages"])
        usage = {"prompt_tokens": prompt, "completion_tokens": len((self.text or "").split())}
        return json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}).encode()


class Call(NamedTuple):
    """A request, what it was answered, and when it came and that was ready (`time.monotonic`)."""

    body: Body
    said: Say
    asked_at: float
    answered_at: float


class ScriptedEndpoint:
    """Answers with `script(request body)`; `calls` are the answered requests, `most_at_once` what was open at a time."""

    def __init__(self, script: Callable[[Body], Say]) -> None:
        self.script = script
        self.calls: list[Call] = []
        self.open = self.most_at_once = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._started.wait()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def asked(self, model: str) -> list[Body]:
        return [call.body for call in self.calls if call.body["model"] == model]

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24))
        self.port = server.sockets[0].getsockname()[1]
        self._started.set()
        self._loop.run_forever()
        server.close()
        open_connections = asyncio.all_tasks(self._loop)
        for task in open_connections:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*open_connections, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(re.search(rb"content-length: *(\d+)", head)[1])
                asked = json.loads(await reader.readexactly(length))
                asked_at = time.monotonic()
                self.open += 1
                self.most_at_once = max(self.most_at_once, self.open)
                say = self.script(asked)
                await asyncio.sleep(say.delay_seconds)
                self.open -= 1
                if say.hang_up:
                    break
                data = say.body(asked)
                kind = b"text/html" if data.startswith(b"<") else b"application/json"
                # before it is written: whoever got the last answer finds it counted
                self.calls.append(Call(asked, say, asked_at, time.monotonic()))
                writer.write(
                    b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nretry-after-ms: 1\r\nContent-Length: %d\r\n\r\n%s"
                    % (say.status, kind, len(data), data)
                )
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass  # the client went away, perhaps killed, or this server is closed
        finally:
            writer.transport.abort()


@contextlib.contextmanager
def scripted(script: Callable[[Body], Say]) -> Iterator[ScriptedEndpoint]:
    endpoint = ScriptedEndpoint(script)
    try:
        yield endpoint
    finally:
        endpoint.close()


def question_of(asked: Body) -> str:
    """The question in a request to either model."""
    found = re.findall(r"^Question: (.*)$", asked["messages"][-1]["content"], re.MULTILINE)
    return found[-1]


def facts_of(asked: Body) -> list[str]:
    """The numbered facts in a request to the injector."""
    numbered = asked["messages"][-1]["content"].rpartition("\n\nFacts:\n")[2]
    return [fact for _, fact in re.findall(r"^(\d+)\. (.*(?:\n(?!\d+\. ).*)*)", numbered, re.MULTILINE)]


def good_models(answers: Mapping[str, str]) -> Callable[[Body], Say]:
    """A script in which the model `reasoner` knows the answer of every question and `injector` quotes every fact."""

    def script(asked: Body) -> Say:
        if asked["model"] == "reasoner":
            return Say(f"I look it up and see who is meant.\nAnswer: {answers[question_of(asked)]}")
        return Say("I look it up. " + " Then I read: ".join(facts_of(asked)) + " So that is it.")

    return script
