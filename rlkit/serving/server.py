"""The HTTP scorer itself: what is let in, how long it may take, and how the server ends.

A request is accepted when it holds one of `max_requests` places, from its headers to the end of its answer; what is
accepted is answered, what is not gets 429 at once. Knows aiohttp, which only this module imports; knows no formula.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import math
import signal
import socket
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from aiohttp import web

from rewards.compose import Weighted
from rlkit.errors import RlkitError
from rlkit.serving.bodies import BadBody, is_error, openrlhf_answer, rows_of_json, rows_of_lines, rows_of_openrlhf
from rlkit.serving.metrics import Metrics
from rlkit.serving.pool import Pool

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
LINES = ("application/x-ndjson", "application/jsonl", "application/jsonlines")
LINGER_SECONDS = 2.0  # how long the rest of a refused body is read, so that the client sees the answer
MAX_RETRY_SECONDS = 60
_log = logging.getLogger(__name__)
_connections = logging.getLogger(f"{__name__}.connections")
_connections.setLevel(logging.CRITICAL)  # aiohttp logs a traceback for every client that sends no HTTP


@dataclass(frozen=True)
class Limits:
    """What one server takes: places, sizes and times."""

    max_requests: int = 64
    max_body_bytes: int = 32 * 1024 * 1024
    max_rows: int = 10_000
    deadline_seconds: float = 60.0
    client_seconds: float = 30.0  # for headers, for a body and for taking an answer, each


class Scorer:
    """The server's state and its endpoints; `application` is what aiohttp serves."""

    def __init__(self, reward: Weighted, pool: Pool, limits: Limits, token: str | None, unscored: float | None) -> None:
        self.reward, self.pool, self.limits, self.unscored = reward, pool, limits, unscored
        self.metrics = Metrics()
        self.draining = False
        self.accepted = 0
        self.done = asyncio.Event()  # draining, and the last accepted request is answered
        self._token = token
        self._usual_seconds = 1.0
        self._silent: dict[Any, asyncio.TimerHandle] = {}

    def application(self) -> web.Application:
        app = web.Application(middlewares=[self._guard])
        app.router.add_post("/score", self._score)
        app.router.add_post("/openrlhf", self._openrlhf)
        app.router.add_get("/health", self._health)
        app.router.add_get("/metrics", self._metrics)
        return app

    def drain(self) -> None:
        """Accept nothing more; a second call waits for nothing any more."""
        if self.draining or not self.accepted:
            self.done.set()
        else:
            _log.info("finishing %d accepted requests; a second signal ends at once", self.accepted)
        self.draining = True

    def watch(self, connection: Any) -> Any:
        """Close a connection on which no first request arrives in time; aiohttp does so itself from 3.14.4 on."""
        timer = asyncio.get_running_loop().call_later(self.limits.client_seconds, self._close, connection)
        self._silent[connection] = timer
        return connection

    def _close(self, connection: Any) -> None:
        del self._silent[connection]
        if connection.transport is not None:
            connection.transport.abort()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        timer = self._silent.pop(request.protocol, None)
        if timer is not None:
            timer.cancel()
        try:
            if request.path != "/health":
                self._check_token(request)
            response = await (self._within_limits(request, handler) if request.method == "POST" else handler(request))
        except BadBody as error:
            response = _refuse(error.status, str(error))
        except web.HTTPException as error:
            response = _refuse(error.status, error.text or error.reason, dict(error.headers))
        except Exception:  # the last boundary: the next request is another one
            _log.exception("a request to %s failed", request.path)
            response = _refuse(500, "the server failed on this request; its log says why.")
        known = request.path if request.match_info.http_exception is None else "other"
        self.metrics.requests[known, response.status] += 1
        return response

    def _check_token(self, request: web.Request) -> None:
        if self._token is None:
            return
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), self._token.encode())
        if not right or scheme.lower() != "bearer":  # names of schemes have no case (RFC 9110)
            text = "the token is missing or wrong; send the header 'Authorization: Bearer TOKEN'."
            raise web.HTTPUnauthorized(text=text, headers={"WWW-Authenticate": "Bearer"})

    async def _within_limits(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.draining:
            raise web.HTTPServiceUnavailable(
                text="the server is ending; ask another one.", headers={"Connection": "close"}
            )
        if self.accepted >= self.limits.max_requests:
            wait = min(MAX_RETRY_SECONDS, math.ceil(self._usual_seconds))
            text = f"all {self.limits.max_requests} places are taken; try again in {wait} s."
            raise web.HTTPTooManyRequests(text=text, headers={"Retry-After": str(wait)})
        self.accepted += 1
        start = time.monotonic()
        try:
            response = await handler(request)
            await self._send(request, response)
            return response
        finally:
            self.accepted -= 1
            seconds = time.monotonic() - start
            self._usual_seconds += 0.2 * (seconds - self._usual_seconds)
            self.metrics.took(seconds)
            if self.draining and not self.accepted:
                self.done.set()

    async def _send(self, request: web.Request, response: web.StreamResponse) -> None:
        """Send the answer while its place is held; a client that does not take it in time loses its connection."""

        async def send() -> None:
            await response.prepare(request)
            await response.write_eof()

        try:
            await asyncio.wait_for(send(), self.limits.client_seconds)
        except (asyncio.TimeoutError, ConnectionError):
            if request.transport is not None:
                request.transport.abort()

    async def _score(self, request: web.Request) -> web.Response:
        lines = request.content_type in LINES
        if not lines and request.content_type != "application/json":
            text = f"the content type is {request.content_type}, but must be application/json or {LINES[0]}."
            raise web.HTTPUnsupportedMediaType(text=text)
        body = await self._body(request)
        rows = await asyncio.to_thread(rows_of_lines if lines else rows_of_json, body, self.limits.max_rows)
        results = await self._results(rows)
        if lines:
            return web.Response(body=b"\n".join([*results, b""]), content_type=LINES[0])
        return web.Response(body=b'{"scores": [' + b", ".join(results) + b"]}", content_type="application/json")

    async def _openrlhf(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        rows = await asyncio.to_thread(rows_of_openrlhf, body, self.limits.max_rows)
        results = await self._results(rows)
        return web.Response(body=openrlhf_answer(self.reward, results, self.unscored), content_type="application/json")

    async def _results(self, rows: list[tuple[int, bytes]]) -> list[bytes]:
        results = await self.pool.score(rows, self.limits.deadline_seconds)
        self.metrics.rows += len(results)
        self.metrics.row_errors += sum(map(is_error, results))
        return results

    async def _body(self, request: web.Request) -> bytes:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            raise web.HTTPUnsupportedMediaType(text="bodies are taken uncompressed only.")
        most = self.limits.max_body_bytes
        too_large = f"the body has more than {most:,} bytes; send fewer rows at a time, or raise --max-body-mb."
        if (request.content_length or 0) > most:
            raise BadBody(413, too_large)
        body = bytearray()

        async def read() -> None:
            async for chunk in request.content.iter_any():
                body.extend(chunk)
                if len(body) > most:
                    raise BadBody(413, too_large)

        try:
            await asyncio.wait_for(read(), self.limits.client_seconds)
        except asyncio.TimeoutError:
            text = f"the body did not arrive within {self.limits.client_seconds:g} s."
            raise web.HTTPRequestTimeout(text=text, headers={"Connection": "close"}) from None
        except (ConnectionError, web.RequestPayloadError) as error:
            raise BadBody(400, f"the body ends before its end: {error}.") from error
        return bytes(body)

    async def _health(self, request: web.Request) -> web.Response:
        state = {
            "status": "ending" if self.draining else "ok",
            "accepted": self.accepted,
            "workers": len(self.pool.pids()),
        }
        return web.json_response(state, status=503 if self.draining else 200)

    async def _metrics(self, request: web.Request) -> web.Response:
        gauges = {
            "rlkit_requests_accepted": ("Requests that hold a place now.", self.accepted),
            "rlkit_requests_limit": ("Places.", self.limits.max_requests),
            "rlkit_workers": ("Worker processes that run now.", len(self.pool.pids())),
        }
        restarts = {"rlkit_worker_deaths_total": ("Worker processes that died and were replaced.", self.pool.restarts)}
        text = self.metrics.text(gauges, restarts)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})


async def serve(
    reward: Weighted,
    *,
    host: str,
    port: int,
    workers: int,
    limits: Limits | None = None,
    token: str | None = None,
    unscored: float | None = None,
    ready: Callable[[Scorer, int], None] | None = None,
) -> None:
    """Serve a reward until a signal ends it: SIGTERM or SIGINT finish what is accepted first.

    `ready` is called with the scorer and the port (of the system's choice where `port` is 0). Raises `RlkitError`
    where the address is taken or the processes cannot be started.
    """
    pool = Pool(reward, workers)
    scorer = Scorer(reward, pool, limits or Limits(), token, unscored)
    client_seconds = scorer.limits.client_seconds
    runner = web.AppRunner(
        scorer.application(), handle_signals=False, access_log=None, logger=_connections, auto_decompress=False,
        keepalive_timeout=client_seconds, lingering_time=LINGER_SECONDS, shutdown_timeout=LINGER_SECONDS,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    signals: list[signal.Signals] = []
    listener: asyncio.Server | None = None
    try:
        await runner.setup()
        accept: Any = runner.server
        try:
            listener = await loop.create_server(lambda: scorer.watch(accept()), host, port, start_serving=False)
        except (OSError, OverflowError) as error:
            raise RlkitError(
                f"cannot listen on {host} port {port}: {error}; choose another --port or --host."
            ) from error
        await pool.start()
        await listener.start_serving()
        signals = _on_signals(scorer.drain)
        if ready is not None:
            ready(scorer, _port_of(listener.sockets[0]))
        await scorer.done.wait()
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
        if listener is not None:
            listener.close()
        await runner.cleanup()
        await asyncio.to_thread(pool.stop)


def _on_signals(act: Callable[[], None]) -> list[signal.Signals]:
    """The signals that now act; none where the loop runs outside the main thread."""
    handled = []
    with suppress(ValueError, RuntimeError):
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, act)
            handled.append(number)
    return handled


def _port_of(listening: socket.socket) -> int:
    return int(listening.getsockname()[1])


def _refuse(status: int, message: str, headers: dict[str, str] | None = None) -> web.Response:
    kept = {
        name: value for name, value in (headers or {}).items() if name.lower() not in ("content-type", "content-length")
    }
    return web.Response(
        body=json.dumps({"error": message}).encode(), status=status, headers=kept, content_type="application/json"
    )
