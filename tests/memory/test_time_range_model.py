"""The time range as a model reads it: strict answers, a journal that outlives a kill, nothing asked twice."""

import json
import pickle
import subprocess
import sys
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rlkit.errors import DataError
from rlkit.generation.endpoint import Endpoint, EndpointError
from rlkit.journal import Journal
from rlkit.memory.model_range import model_based, parse_range

pytest.importorskip("openai", reason="the extra `llm` is not installed")

GOOD = '{"start": "2021-05-01", "end": "2021-05-31"}'


class Server:
    """Answers with `reply(question)`; remembers what it was asked."""

    def __init__(self, reply):
        self.asked = asked = []

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                asked.append(body["messages"][-1]["content"])
                text = reply(asked[-1])
                message = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
                usage = {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}
                answer = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [message]}
                data = json.dumps({**answer, "usage": usage}).encode()
                self.send_response(200 if text is not None else 400)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    def endpoint(self, model="m", **settings):
        return Endpoint(f"http://127.0.0.1:{self.http.server_port}/v1", model, **settings)


@pytest.fixture
def serve(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    servers = []

    def start(reply):
        servers.append(Server(reply if callable(reply) else lambda question: reply))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def test_the_answer_is_read_and_widened_and_the_day_of_asking_is_told(serve, tmp_path):
    server = serve(GOOD)
    predict = model_based(server.endpoint(), tmp_path / "new" / "ranges.jsonl", margin_days=2)
    assert predict("What happened last month?", "2021-06-03T10:00:00") == ("2021-04-29", "2021-06-02")
    assert server.asked == ["Day of asking: 2021-06-03T10:00:00\nQuestion: What happened last month?"]
    assert predict.counts == Counter(asked=1, prompt_tokens=7, completion_tokens=3)


def test_without_a_day_of_asking_the_model_is_told_that_it_is_unknown(serve, tmp_path):
    server = serve('{"start": null, "end": null}')
    assert model_based(server.endpoint(), tmp_path / "j")("What happened last month?", None) == (None, None)
    assert server.asked[0].startswith("Day of asking: unknown\n")


def test_an_answer_is_asked_once_also_by_another_process_and_when_unparsable(serve, tmp_path):
    server = serve(lambda asked: "No idea." if "dog" in asked else GOOD)
    questions = [
        ("When was May?", None),
        ("Whose dog?", None),
        ("When was May?", None),
        ("When was May?", "2024-01-01"),
    ]
    first = model_based(server.endpoint(), tmp_path / "j")
    ranges = first.predict_all(questions)
    assert ranges == [
        ("2021-05-01", "2021-05-31"),
        (None, None),
        ("2021-05-01", "2021-05-31"),
        ("2021-05-01", "2021-05-31"),
    ]
    assert len(server.asked) == 3
    assert (first.counts["asked"], first.counts["unparsable"]) == (3, 1)
    again = model_based(server.endpoint(), tmp_path / "j")
    assert again.predict_all(questions) == ranges
    assert len(server.asked) == 3
    assert (again.counts["asked"], again.counts["cached"], again.counts["unparsable"]) == (0, 3, 1)


def test_another_model_or_setting_is_another_answer(serve, tmp_path):
    server = serve(GOOD)
    for endpoint in (
        server.endpoint(),
        server.endpoint("n"),
        server.endpoint(sampling={"temperature": 1}),
        server.endpoint(),
    ):
        model_based(endpoint, tmp_path / "j")("When?", None)
    assert len(server.asked) == 3


def test_what_was_answered_before_a_failure_is_kept(serve, tmp_path):
    broken = [True]
    server = serve(lambda asked: None if "3" in asked and broken else GOOD)
    questions = [(str(i), None) for i in range(6)]
    with pytest.raises(EndpointError, match="400"):
        model_based(server.endpoint(concurrency=1), tmp_path / "j").predict_all(questions)
    before = len(server.asked)
    broken.clear()
    model_based(server.endpoint(concurrency=1), tmp_path / "j").predict_all(questions)
    assert sum("3" in asked for asked in server.asked) == 2  # refused once, answered once
    assert len(server.asked) == before + len(questions) - (before - 1)


def test_it_travels_to_another_process(serve, tmp_path):
    server = serve(GOOD)
    predict = model_based(server.endpoint(), tmp_path / "j")
    predict("When?", None)
    copy = pickle.loads(pickle.dumps(predict))
    assert copy("When?", None) == predict("When?", None)
    assert len(server.asked) == 1
    assert repr(copy) == repr(predict)


@pytest.mark.parametrize(
    ("answer", "bounds"),
    [
        (GOOD, ("2021-05-01", "2021-05-31")),
        ('Sure:\n```json\n{"end": null, "start": "2021-05-01"}\n```\nBye.', ("2021-05-01", None)),
        ('<think>{"start": "2020-01-01", "end": null}</think>{"start": null, "end": null}', (None, None)),
        (GOOD + GOOD, ("2021-05-01", "2021-05-31")),
        (GOOD + '{"start": null, "end": null}', None),
        ('{"start": "2021-05-01"}', None),
        ('{"start": "2021-05-01", "end": null, "sure": true}', None),
        ('{"start": "2021-05-01", "start": null, "end": null}', None),
        ('{"start": "2021-05-01T00:00:00", "end": null}', None),
        ('{"start": "unknown", "end": null}', None),
        ('{"start": 2021, "end": null}', None),
        ('{"start": "2021-02-30", "end": null}', None),
        ('{"start": "2021-06-01", "end": "2021-05-01"}', None),
        ('{"start": "2021-05-01", "end": ', None),
        ("May 2021", None),
        ("", None),
        ("{" * 100_000, None),
        (" " * 100_000 + GOOD, None),
    ],
)
def test_only_one_form_of_answer_counts(answer, bounds):
    assert parse_range(answer) == bounds


def test_a_journal_outlives_a_kill_in_the_middle_of_a_line(tmp_path):
    path = tmp_path / "j"
    code = f"""
import os
from rlkit.journal import Journal
journal = Journal({str(path)!r})
for i in range(5):
    journal.put(f"k{{i}}", "ä" * i)
open({str(path)!r}, "ab", buffering=0).write('{{"key": "k5", "value": "hälf'.encode()[:-3])  # ends inside the ä
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    assert path.read_bytes().endswith(b'"h\xc3')
    journal = Journal(path)
    assert [journal.get(f"k{i}") for i in range(6)] == ["", "ä", "ää", "äää", "ääää", None]
    journal.put("k5", "whole")
    assert [Journal(path).get(key) for key in ("k4", "k5")] == ["ääää", "whole"]


def test_a_whole_last_line_without_its_end_is_kept(tmp_path):
    path = tmp_path / "j"
    path.write_text('{"key": "a", "value": 1}', encoding="utf-8")
    journal = Journal(path)
    assert journal.get("a") == 1
    journal.put("b", 2)
    assert (Journal(path).get("a"), Journal(path).get("b")) == (1, 2)


@pytest.mark.parametrize("line", ["half", "[1]", '{"key": "a"}', "7"])
def test_a_broken_line_inside_a_journal_is_named(tmp_path, line):
    path = tmp_path / "j"
    path.write_text('{"key": "a", "value": 1}\n' + line + '\n{"key": "b", "value": 2}\n', encoding="utf-8")
    with pytest.raises(DataError, match=r"j:2: not a line of a journal"):
        Journal(path).get("a")


def test_threads_write_whole_lines(tmp_path):
    journal = Journal(tmp_path / "j")
    threads = [threading.Thread(target=lambda i=i: journal.put(str(i), "x" * 5_000)) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(Journal(tmp_path / "j").get(str(i)) == "x" * 5_000 for i in range(20))
