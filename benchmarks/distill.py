"""How many calls a second `rlkit distill` makes: against the ideal of the server and a bare httpx loop, in one run.

python benchmarks/distill.py [--calls 2000] [--rounds 3]

The server is a process of its own that answers every request after 50 ms. 32 at a time make 640 calls a second the ideal.
The three ways take turns, so that a busy machine slows down all of them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import os
import re
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple

from rlkit.distill.pipeline import distill
from rlkit.distill.prompts import ask_reasoner
from rlkit.distill.settings import parse_settings
from rlkit.generation.endpoint import Endpoint
from rlkit.generation.model import Conversation
from rlkit.journal import Journal

DELAY_SECONDS = 0.05
AT_ONCE = 32
IDEAL = AT_ONCE / DELAY_SECONDS


class Answering(asyncio.Protocol):
    """Answers each request of a connection after the delay, whatever else is going on."""

    def connection_made(self, transport: Any) -> None:
        self.transport, self.read = transport, b""

    def data_received(self, data: bytes) -> None:
        self.read += data
        head, found, body = self.read.partition(b"\r\n\r\n")
        if found and len(body) >= int(re.search(rb"content-length: *(\d+)", head.lower())[1]):
            self.read = b""
            asyncio.get_running_loop().call_later(DELAY_SECONDS, self.answer, body)

    def answer(self, body: bytes) -> None:
        asked = json.loads(body)["messages"][-1]["content"]
        facts = re.findall(r"^\d+\. (.*)$", asked.rpartition("\n\nFacts:\n")[2], re.MULTILINE)
        text = " ".join(facts) if facts else f"It is there.\nAnswer: {re.search('Kelmore[0-9]+', asked)[0]}"
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
        usage = {"prompt_tokens": 1500, "completion_tokens": 100, "total_tokens": 1600}
        said = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
        data = json.dumps(said).encode()
        if not self.transport.is_closing():
            self.transport.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(data), data)
            )


def serve(ready: Connection) -> None:
    async def run() -> None:
        server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=256)
        ready.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(run())


def record(number: int) -> dict[str, Any]:
    """A record as long as one of HotpotQA: ten passages of a hundred words."""
    name = f"Kelmore{number}"
    facts = [
        f"The lighthouse of Fenwick{number} was painted by Ada of {name}.",
        f"Ada of {name} was born at sea in {name}.",
    ]
    filler = " ".join(f"word{i % 17} and stone{i % 23} of the old wall" for i in range(14))
    context = [{"title": f"Passage {i}", "text": f"{filler} {i}. {facts[i % 2] if i < 2 else ''}"} for i in range(10)]
    question = f"Where was the painter of the lighthouse of Fenwick{number} born?"
    return {"id": f"q{number}", "question": question, "context": context, "golds": [name], "evidence": facts}


class Result(NamedTuple):
    """Calls a second, and this process's CPU milliseconds a call."""

    rate: float
    cpu_ms: float


def timed(calls: int, work: Callable[[], object]) -> Result:
    start, used = time.perf_counter(), cpu_seconds()
    work()
    return Result(calls / (time.perf_counter() - start), 1000 * (cpu_seconds() - used) / calls)


def whole_run(calls: int, url: str, rows: Path, folder: str) -> tuple[Result, Result]:
    """`rlkit distill` up to its last answer, and with the judging and writing that come after it."""
    stage = {"base_url": url, "model": "m", "concurrency": AT_ONCE // 2}
    sources = {"rows": {"format": "records", "path": str(rows)}}
    settings = parse_settings({"sources": sources, "reasoner": stage, "injector": stage, "output_dir": folder})
    start, used = time.perf_counter(), cpu_seconds()
    at_last_answer = (start, used)

    def note(stage: str, answers: int) -> None:
        nonlocal at_last_answer
        at_last_answer = (time.perf_counter(), cpu_seconds())

    distill(settings, progress=note)
    ends = (at_last_answer, (time.perf_counter(), cpu_seconds()))
    asking, whole = (Result(calls / (end - start), 1000 * (cpu - used) / calls) for end, cpu in ends)
    return asking, whole


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def bare_loop(url: str, bodies: list[dict[str, Any]]) -> Callable[[], None]:
    """32 threads that post and parse, with the HTTP library that the openai client itself uses."""
    try:
        import httpx2 as httpx
    except ImportError:
        import httpx
    limits = httpx.Limits(max_connections=AT_ONCE, max_keepalive_connections=AT_ONCE)
    client = httpx.Client(limits=limits, timeout=60, trust_env=False)

    def work() -> None:
        with ThreadPoolExecutor(AT_ONCE) as pool:
            for answer in pool.map(lambda body: client.post(f"{url}/chat/completions", json=body).json(), bodies):
                answer["choices"][0]["message"]["content"]

    return work


def ask_all(endpoint: Endpoint, conversations: list[Conversation], journal: Journal) -> None:
    for _ in endpoint.complete(conversations, lambda number, reply: journal.put(f"reasoner:{number}", vars(reply))):
        pass


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--calls", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1"
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(theirs,), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    conversations = [ask_reasoner(record(number)) for number in range(args.calls)]
    bare = bare_loop(url, [{"model": "m", "messages": messages} for messages in conversations])
    endpoint = Endpoint(url, "m", concurrency=AT_ONCE)
    found: dict[str, list[Result]] = {}
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        lines = (json.dumps(record(number)) + "\n" for number in range(args.calls // 2))
        rows.write_text("".join(lines), encoding="utf-8")
        for number in range(args.rounds + 1):
            kept = Journal(f"{folder}/journal{number}.jsonl")
            asked = partial(ask_all, endpoint, conversations, kept)
            asking, whole = whole_run(args.calls, url, rows, f"{folder}/out{number}")
            results = {
                "bare httpx loop": timed(args.calls, bare),
                "Endpoint, with journal": timed(args.calls, asked),
                "rlkit distill, asking": asking,
                "rlkit distill, all of it": whole,
            }
            if number:  # the first round warms up: connections, the converted source
                for name, result in results.items():
                    found.setdefault(name, []).append(result)
    server.kill()
    print(
        f"{args.calls:,} calls, {AT_ONCE} at a time, {1000 * DELAY_SECONDS:g} ms each; medians of {args.rounds} rounds"
    )
    limit = statistics.median(result.rate for result in found["bare httpx loop"])
    for name, values in found.items():
        rate = statistics.median(result.rate for result in values)
        cpu = statistics.median(result.cpu_ms for result in values)
        ratios = f"{rate / IDEAL:.2f} of the ideal {IDEAL:.0f}/s, {rate / limit:.2f} of the bare loop"
        print(f"{name:<26}{rate:>4.0f} calls/s: {ratios}; {cpu:.2f} ms CPU a call")
    print(f"load of the machine in the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
