"""`rlkit serve-rewards` as a process of its own: signals, killed processes and clients that do not read."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from serving_for_tests import EMMA, record

from rewards import Sample, presets

pytest.importorskip("aiohttp", reason="the extra 'serve' is not installed")
pytestmark = pytest.mark.slow
ROOT = Path(__file__).resolve().parents[2]
OBEYS = "rewards:\n  obeys: {use: 'serving_for_tests:obeys', weight: 1.0}\n"


class Server:
    """The command, started on a free port."""

    def __init__(self, folder, *words, rewards=OBEYS):
        (folder / "rewards.yaml").write_text(rewards)
        paths = os.pathsep.join([str(ROOT), str(ROOT / "tests" / "slow")])
        self.process = subprocess.Popen(
            [sys.executable, "-m", "rlkit", "serve-rewards", "--rewards", "rewards.yaml", "--port", "0", "--workers", "2",
             *words],
            cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": paths},
        )  # fmt: skip
        line = self.process.stdout.readline()
        assert "2 processes, without a token" in line, line + self.process.stderr.read()
        self.port = int(re.search(r":(\d+)/score", line)[1])

    def __enter__(self):
        return self

    def __exit__(self, *error):
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, json.loads(response.read())
        finally:
            connection.close()

    def metrics(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics") as answer:
            return answer.read().decode()

    def score(self, rows):
        return self.ask("POST", "/score", json.dumps({"records": rows}))

    def children(self):
        """The processes that score, by their ids; Python's own helper process is none of them."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        ids = [child for task in tasks for child in task.read_text().split()]
        return [int(i) for i in ids if b"resource_tracker" not in Path(f"/proc/{i}/cmdline").read_bytes()]


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_processes_killed_under_load_cost_no_score(tmp_path):
    with Server(tmp_path) as server:
        stop, killed = threading.Event(), []

        def kill_now_and_then():
            while not stop.is_set():
                for pid in server.children()[:1]:
                    os.kill(pid, signal.SIGKILL)
                    killed.append(pid)
                stop.wait(1.5)

        rows = [record(i, completion=f"sleep 0.0{i % 10}") for i in range(40)]
        killer = threading.Thread(target=kill_now_and_then)
        killer.start()
        try:
            with ThreadPoolExecutor(4) as clients:
                answers = list(clients.map(lambda _: server.score(rows), range(12)))
        finally:
            stop.set()
            killer.join()
        lost = 0
        for status, answer in answers:
            assert status == 200
            assert len(answer["scores"]) == 40
            for i, score in enumerate(answer["scores"], 1):
                if "error" in score:
                    lost += 1
                    assert score["row"] == i
                    assert "died, killed" in score["error"]
                else:
                    assert score["total"] == 0.5
        assert killed
        assert lost <= 2  # killed twice at the very same row is rare, and then said
        assert server.score(rows[:3])[1]["scores"] == [{"total": 0.5, "maximum": 1.0, "parts": {"obeys": 0.5}}] * 3
        deaths = re.search(r"rlkit_worker_deaths_total (\d+)", server.metrics())
        assert int(deaths[1]) > 0


def test_an_end_signal_to_the_whole_group_loses_nothing_accepted(tmp_path):
    with Server(tmp_path) as server:
        answers = []
        rows = [record(i, completion="sleep 0.1") for i in range(40)]
        clients = [threading.Thread(target=lambda: answers.append(server.score(rows))) for _ in range(3)]
        for client in clients:
            client.start()
        wait_for(lambda: server.ask("GET", "/health")[1]["accepted"] == 3)
        for pid in (*server.children(), server.process.pid):  # as service managers and terminals do
            os.kill(pid, signal.SIGTERM)
        wait_for(lambda: server.ask("GET", "/health")[0] == 503)
        assert server.score(rows)[0] == 503
        for client in clients:
            client.join()
        assert [(status, [s["total"] for s in answer["scores"]]) for status, answer in answers] == [
            (200, [0.5] * 40)
        ] * 3
        assert server.process.wait(60) == 0


def test_a_second_signal_waits_no_longer(tmp_path):
    with Server(tmp_path) as server:
        failed = []

        def ask():
            try:
                server.score([record(1, completion="sleep 50")])
            except (OSError, http.client.HTTPException) as error:
                failed.append(error)

        client = threading.Thread(target=ask)
        client.start()
        wait_for(lambda: server.ask("GET", "/health")[1]["accepted"] == 1)
        server.process.send_signal(signal.SIGINT)
        wait_for(lambda: server.ask("GET", "/health")[0] == 503)
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(40) == 0
        client.join()
        assert failed


def test_no_process_outlives_a_server_that_is_killed(tmp_path):
    with Server(tmp_path) as server:
        children = server.children()
        assert len(children) == 2
        server.process.kill()
        server.process.wait()
        wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children))


def test_a_client_that_takes_no_answer_gives_its_place_back(tmp_path):
    with Server(tmp_path, "--client-timeout", "2", "--max-rows", "1000000", "--max-requests", "1") as server:
        body = b"{}\n" * 60_000  # an answer far larger than the buffers between the two
        with socket.socket() as deaf:
            deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            deaf.settimeout(120)
            deaf.connect(("127.0.0.1", server.port))
            head = f"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nContent-Length: {len(body)}\r\n\r\n"
            deaf.sendall(head.encode() + body)
            wait_for(lambda: server.ask("GET", "/health")[1]["accepted"] == 1)
            assert server.score([])[0] == 429
            wait_for(lambda: server.ask("GET", "/health")[1]["accepted"] == 0, seconds=120)
            assert server.score([record(1, completion="fine")])[0] == 200


def test_a_preset_over_http_is_the_preset_offline(tmp_path):
    with Server(tmp_path, rewards="rewards: care\n") as server:
        rows = [
            record(i, completion=f"<think><retrieval>{EMMA[:i]}</retrieval></think> Answer: Jane") for i in range(200)
        ]
        status, answer = server.score(rows)
        assert status == 200
        reward = presets.care()
        assert [score["total"] for score in answer["scores"]] == [reward(Sample.from_record(row)).total for row in rows]
