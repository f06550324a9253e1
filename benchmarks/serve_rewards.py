"""What HTTP costs a reward: rows a second against in-process scoring, tail latency, ten times too many clients, bad ones.

python benchmarks/serve_rewards.py [--rows 4000] [--workers 2]
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import re
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from score import write_rows

from rewards import Sample, presets
from rlkit.data.jsonl import normalise
from rlkit.streams import cores

PLACES = 8
BATCH_ROWS = 64
HANGING = 40
JSON = {"Content-Type": "application/json"}


@contextlib.contextmanager
def serving(workers: int, places: int) -> Iterator[int]:
    """The port of a server of its own process."""
    command = [
        sys.executable,
        "-m",
        "rlkit",
        "serve-rewards",
        "--rewards",
        "care",
        "--port",
        "0",
        "--workers",
        str(workers),
    ]
    command += ["--max-requests", str(places), "--client-timeout", "20"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield int(re.search(r":(\d+)/score", server.stdout.readline())[1])
    finally:
        server.terminate()
        if server.wait() != 0:
            raise SystemExit(f"the server ended with exit code {server.returncode}")


def post(connection: http.client.HTTPConnection, body: bytes) -> tuple[int, bytes, str | None]:
    connection.request("POST", "/score", body, JSON)
    response = connection.getresponse()
    return response.status, response.read(), response.headers["Retry-After"]


def totals(answer: bytes) -> list[float]:
    return [score["total"] for score in json.loads(answer)["scores"]]


def throughput(port: int, bodies: list[bytes], expected: list[list[float]], clients: int) -> tuple[float, list[float]]:
    """Seconds for all batches from several clients, and the seconds of each; the answers are checked afterwards."""
    answers: list[bytes] = [b""] * len(bodies)
    seconds = [0.0] * len(bodies)

    def client(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        for i in range(first, len(bodies), clients):
            start = time.perf_counter()
            status, answers[i], _ = post(connection, bodies[i])
            seconds[i] = time.perf_counter() - start
            assert status == 200, answers[i]
        connection.close()

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(clients)))
    taken = time.perf_counter() - start
    assert [totals(answer) for answer in answers] == expected
    return taken, seconds


def crowd(port: int, bodies: list[bytes], expected: list[list[float]], clients: int) -> tuple[Counter[int], int, float]:
    """Every client sends one batch at once and comes back as told until it is served."""
    codes: Counter[int] = Counter()

    def client(i: int) -> int:
        while True:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
            status, answer, retry = post(connection, bodies[i % len(bodies)])
            connection.close()
            codes[status] += 1
            if status == 429:
                time.sleep(float(retry))
                continue
            return int(status == 200 and totals(answer) == expected[i % len(bodies)])

    start = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        served = sum(pool.map(client, range(clients)))
    return codes, served, time.perf_counter() - start


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--workers", type=int, default=cores())
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        write_rows(path, args.rows)
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    batches = [rows[i : i + BATCH_ROWS] for i in range(0, len(rows), BATCH_ROWS)]
    bodies = [json.dumps({"records": batch}).encode() for batch in batches]
    reward = presets.care()

    start, start_cpu = time.perf_counter(), time.process_time()
    expected = [[reward(Sample.from_record(normalise(row, "row"))).total for row in batch] for batch in batches]
    alone, alone_cpu = time.perf_counter() - start, time.process_time() - start_cpu

    print(
        f"{len(rows):,} rows in {len(batches)} batches of {BATCH_ROWS}, {sum(map(len, bodies)) / 1e6:.0f} MB, {cores()} cores"
    )
    print(f"in this process         {len(rows) / alone:>8,.0f} rows/s")
    with serving(args.workers, PLACES):
        pass
    start_cpu = cpu_of_children()
    with serving(args.workers, PLACES) as port:
        throughput(port, bodies[:8], expected[:8], 2)
        one, seconds = throughput(port, bodies, expected, 1)
        print(
            f"server, one client      {len(rows) / one:>8,.0f} rows/s, {alone / one:.2f} times in-process;",
            latency(seconds, alone / len(batches)),
        )
        four, seconds = throughput(port, bodies, expected, 4)
        print(
            f"server, four clients    {len(rows) / four:>8,.0f} rows/s, {alone / four:.2f} times in-process;",
            latency(seconds, alone / len(batches)),
        )
    cpu = (cpu_of_children() - 2 * start_cpu) / (2 * len(rows) + 8 * BATCH_ROWS)
    print(f"CPU a row               {cpu / (alone_cpu / len(rows)):.2f} times in-process, the server's start left out")

    with serving(args.workers, PLACES) as port:
        codes, served, taken = crowd(port, bodies, expected, 10 * PLACES)
        print(
            f"{10 * PLACES} clients for {PLACES} places   {codes[200]} answered, {codes[429]} told to wait, other {codes.total() - codes[200] - codes[429]}; "
            f"{served} of {10 * PLACES} batches scored right in {taken:.1f} s"
        )

        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        for name, body in (("malformed", bodies[0][:-9]), ("oversized", b"x" * (33 * 1024 * 1024))):
            start = time.perf_counter()
            status = post(connection, body)[0]
            print(f"{name} body          {status} after {1000 * (time.perf_counter() - start):.0f} ms")
            connection.close()

        before, _ = throughput(port, bodies, expected, 4)
        hanging = [socket.create_connection(("127.0.0.1", port)) for _ in range(HANGING)]
        for i, client in enumerate(hanging):
            head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 99\r\n"
            client.sendall(head if i >= PLACES // 2 else head + b"\r\n{")  # half of the places are held by half a body
        time.sleep(0.2)
        again, _ = throughput(port, bodies, expected, 4)
        print(
            f"with {HANGING} hanging clients {len(rows) / again:>8,.0f} rows/s, {before / again:.2f} times without them"
        )
        for client in hanging:
            client.close()


def cpu_of_children() -> float:
    """CPU seconds of all processes that have ended, and of theirs."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def latency(seconds: list[float], batch: float) -> str:
    middle, tail = statistics.median(seconds), percentile(seconds, 0.99)
    return f"a batch {1000 * middle:.0f} ms, p99 {1000 * tail:.0f} ms ({middle / batch:.2f} and {tail / batch:.2f} times in-process)"


if __name__ == "__main__":
    main()
