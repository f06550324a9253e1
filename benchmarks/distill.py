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
from typing import Any

from rlkit.distill.pipeline import distill
from rlkit.distill.prompts import ask_reasoner
from rlkit.distill.settings import parse_settings
from rlkit.generation.endpoint import Endpoint
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


def timed(calls: int, work: Callable[[], object]) -> tuple[float, float]:
    """Calls a second, and this process's CPU milliseconds a call."""
    start, used = time.perf_counter(), cpu_seconds()
    work()
    return calls / (time.perf_counter() - start), 1000 * (cpu_seconds() - used) / calls


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def bare_loop(url: str, bodies: list[dict[str, Any]]) -> Callable[[], object]:
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
    found: dict[str, list[tuple[float, float]]] = {
        "bare httpx loop": [],
        "Endpoint, with journal": [],
        "rlkit distill": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.write_text(
            "".join(json.dumps(record(number)) + "\n" for number in range(args.calls // 2)), encoding="utf-8"
        )
        for number in range(args.rounds + 1):
            journal = Journal(Path(folder) / f"journal{number}.jsonl")
            stage = {"base_url": url, "model": "m", "concurrency": AT_ONCE // 2}
            settings = parse_settings(
                {
                    "sources": {"rows": {"format": "records", "path": str(rows)}},
                    "reasoner": stage,
                    "injector": stage,
                    "output_dir": f"{folder}/out{number}",
                }
            )

            def ask(kept: Journal = journal) -> None:
                for _ in endpoint.complete(conversations, lambda n, reply: kept.put(f"reasoner:{n}", vars(reply))):
                    pass

            results = [timed(args.calls, bare), timed(args.calls, ask), timed(args.calls, partial(distill, settings))]
            if number:  # the first round warms up: connections, the converted source
                for values, result in zip(found.values(), results, strict=True):
                    values.append(result)
    server.kill()
    print(
        f"{args.calls:,} calls, {AT_ONCE} at a time, {DELAY_SECONDS * 1000:g} ms each: ideal {IDEAL:.0f}/s; medians of {args.rounds}"
    )
    limit = statistics.median(rate for rate, _ in found["bare httpx loop"])
    for name, values in found.items():
        rate, cpu = (statistics.median(column) for column in zip(*values, strict=True))
        print(
            f"{name:<24}{rate:>6.0f}/s  {rate / IDEAL:.2f} of the ideal  {rate / limit:.2f} of the bare loop  {cpu:.2f} ms CPU a call"
        )
    print(f"load of the machine in the last minute: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")


if __name__ == "__main__":
    main()
