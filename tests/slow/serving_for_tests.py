"""A scorer in a thread of its own, a client for it, and rewards that its worker processes can import."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

EMMA = "Emma is an 1815 novel by Jane Austen."


def record(i=1, **fields):
    base = {"id": f"q{i}", "question": "Who wrote Emma?", "context": [EMMA], "golds": ["Jane Austen"]}
    return {**base, "completion": f"<think><retrieval>{EMMA}</retrieval></think> Answer: Jane Austen {i}", **fields}


def obeys(sample):
    """Does what the completion says: sleeps, waits until a file is there, dies, or dies unless a file is there."""
    word, _, rest = sample.completion.partition(" ")
    if word == "sleep":
        time.sleep(float(rest))
    elif word == "until":
        while not Path(rest).exists():
            time.sleep(0.01)
    elif word == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "die-once" and not Path(rest).exists():
        Path(rest).write_text("")
        os.kill(os.getpid(), signal.SIGKILL)
    elif word == "raise":
        raise KeyError(rest)
    elif word == "none":
        return None
    return 0.5


@dataclass
class Running:
    """A server that runs; `post` and `get` ask it over a new connection each time."""

    token: str | None = None
    port: int = 0
    scorer: object = None
    loop: object = None
    errors: list = field(default_factory=list)

    def ask(self, method, path, body=None, headers=None, timeout=60):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        try:
            given = {} if self.token is None else {"Authorization": f"Bearer {self.token}"}
            connection.request(method, path, body, {**given, **(headers or {})})
            response = connection.getresponse()
            return response.status, response.read(), dict(response.headers)
        finally:
            connection.close()

    def get(self, path, **options):
        return self.ask("GET", path, **options)

    def post(self, body, path="/score", kind="application/json", headers=None, timeout=60):
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        return self.ask("POST", path, body, {"Content-Type": kind, **(headers or {})}, timeout)

    def scores(self, records):
        status, body, _ = self.post({"records": records})
        assert status == 200, body
        return json.loads(body)["scores"]

    def do(self, function):
        """Call something in the server's own thread."""
        self.loop.call_soon_threadsafe(function)


@contextlib.contextmanager
def running_scorer(reward, *, workers=1, token=None, unscored=None, **limits):
    from rlkit.serving.server import Limits, serve

    running = Running(token)
    up = threading.Event()

    def ready(scorer, port):
        running.scorer, running.port, running.loop = scorer, port, asyncio.get_running_loop()
        up.set()

    def run():
        try:
            asyncio.run(
                serve(reward, host="127.0.0.1", port=0, workers=workers, limits=Limits(**limits), token=token,
                      unscored=unscored, ready=ready)
            )  # fmt: skip
        except BaseException as error:
            running.errors.append(error)
        finally:
            up.set()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    up.wait(60)
    if running.errors:
        raise running.errors[0]
    running.thread = thread
    try:
        yield running
    finally:
        with contextlib.suppress(RuntimeError):  # the loop has ended
            running.do(running.scorer.drain)
            running.do(running.scorer.drain)
        thread.join(60)
        assert not thread.is_alive()
        assert not running.errors
