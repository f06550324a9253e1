"""The HTTP scorer: offline scores in order, errors a row at a time, limits that hold, and nothing accepted lost."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import subprocess
import sys
import time
import types
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rewards import Sample, presets, weighted
from rlkit import cli, serve_rewards
from rlkit.errors import ConfigError, RlkitError
from rlkit.serving import bodies
from rlkit.serving.bodies import BadBody

pytest.importorskip("aiohttp", reason="the extra 'serve' is not installed")
from serving_for_tests import obeys, record, running_scorer

from rlkit.serving.pool import Pool
from rlkit.workers import CHUNK_JOBS

REWARD = presets.care()
OBEYS = weighted(obeys=(1.0, obeys))
LINES = "application/x-ndjson"
KINDS = {"/score": {"records": [record()]}, "/openrlhf": {"query": [], "prompts": [], "labels": []}}


def offline(row, reward=REWARD):
    score = reward(Sample.from_record(row))
    return {"total": score.total, "maximum": score.maximum, "parts": dict(score.parts)}


def lines(rows):
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def wait_for(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture(scope="module")
def server():
    with running_scorer(REWARD, workers=2, max_body_bytes=200_000, max_rows=100, client_seconds=1.0) as running:
        yield running


@pytest.fixture(scope="module")
def obeying():
    with running_scorer(OBEYS, workers=2, max_requests=3) as running:
        yield running


def test_scores_are_the_offline_ones_in_order(server):
    rows = [record(i) for i in range(50)]
    rows[7]["completion"] = "no idea"
    expected = [offline(row) for row in rows]
    assert server.scores(rows) == expected
    status, body, headers = server.post(lines(rows), kind=LINES)
    assert (status, headers["Content-Type"]) == (200, LINES)
    assert [json.loads(line) for line in body.splitlines()] == expected
    assert server.scores([]) == []


def test_a_bad_row_costs_no_other_row_its_score(server):
    rows = [record(1), {"id": "q2"}, record(3, golds=[]), 7, record(5, completion=None), record(6)]
    scores = server.scores(rows)
    assert [scores[0], scores[5]] == [offline(rows[0]), offline(rows[5])]
    assert [score["row"] for score in scores[1:5]] == [2, 3, 4, 5]
    says = [
        "row 2: 'completion' is missing",
        "row 3: row 'q3': golds is empty",
        "row 4: holds int",
        "row 5: 'completion'",
    ]
    for score, start in zip(scores[1:5], says, strict=True):
        assert score["error"].startswith(start)


def test_a_bad_line_is_named_by_its_number(server):
    status, body, _ = server.post(lines([record(1)]) + b"\n{broken\n\xff\n" + lines([record(2)]), kind=LINES)
    results = [json.loads(line) for line in body.splitlines()]
    assert status == 200
    assert [result.get("row") for result in results] == [None, 3, 4, None]
    assert results[1]["error"].startswith("row 3: not a line of JSON: Expecting property name")


@pytest.mark.parametrize(
    ("body", "kind", "status", "says"),
    [
        (b'{"records": [1, ', "application/json", 400, r"not JSON: Expecting value: line 1 column 17"),
        (b'{"records": "\xff"}', "application/json", 400, "not UTF-8 text: invalid start byte at byte 13"),
        (b"[1]", "application/json", 400, "holds list, but must be one JSON object"),
        (b'{"rows": []}', "application/json", 400, r'must be \{"records": \[\.\.\.\]\}'),
        (b"[" * 100_000, "application/json", 400, "not JSON: maximum recursion"),
        (b"", "application/json", 400, "not JSON"),
        (b" \n\n", LINES, 400, "holds no line"),
        (b"{}\n" * 101, LINES, 413, "101 rows, but one request may hold 100"),
        (b'{"records": [' + b"1," * 100 + b"1]}", "application/json", 413, "101 rows"),
        (b"x" * 200_001, "application/json", 413, "more than 200,000 bytes"),
        (b"{}", "text/plain", 415, "the content type is text/plain"),
    ],
)
def test_a_body_that_cannot_be_served_is_refused_with_its_reason(server, body, kind, status, says):
    got, answer, headers = server.post(body, kind=kind)
    assert (got, headers["Content-Type"]) == (status, "application/json")
    assert re.search(says, json.loads(answer)["error"])


def test_a_body_without_a_length_is_cut_off_at_the_limit(server):
    sent = (b"x" * 50_000 for _ in range(40))
    assert server.ask("POST", "/score", sent, {"Content-Type": "application/json"})[0] == 413


def test_compressed_bodies_are_refused(server):
    assert server.post({}, headers={"Content-Encoding": "gzip"})[0] == 415


def test_other_paths_and_methods(server):
    assert server.get("/")[0] == 404
    assert server.get("/score")[0] == 405
    assert server.post({}, path="/health")[0] == 405


def test_a_client_that_hangs_loses_its_connection_and_no_other(server):
    head = b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    stuck = {"nothing": b"", "half a header": head[:30], "no body": head + b"Content-Length: 9\r\n\r\n",
             "half a body": head + b"Content-Length: 9\r\n\r\n{}"}  # fmt: skip
    sockets = {}
    for name, sent in stuck.items():
        sockets[name] = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        sockets[name].sendall(sent)
    assert server.scores([record()]) == [offline(record())]
    for name, open_socket in sockets.items():
        with open_socket:
            try:
                answer = open_socket.recv(10_000)
            except ConnectionResetError:
                answer = b""
        assert answer.startswith(b"HTTP/1.1 408") if "body" in name else answer == b"", name
    assert server.scorer.accepted == 0


def test_a_client_that_leaves_within_its_body_leaves_no_trace(server, caplog):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as leaving:
        leaving.sendall(
            b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        )
        wait_for(lambda: server.scorer.accepted == 1)
    wait_for(lambda: server.scorer.accepted == 0)
    broken = (
        b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    )
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as chunked:
        chunked.sendall(broken)
        assert b" 400 Bad Request" in chunked.recv(10_000)
    assert server.scores([record()]) == [offline(record())]
    assert not [entry for entry in caplog.records if entry.exc_info]


def test_what_is_not_foreseen_is_a_500_and_a_log(monkeypatch, caplog):
    async def fails_now(rows, seconds):
        raise RuntimeError("unforeseen")

    with running_scorer(OBEYS) as running:
        monkeypatch.setattr(running.scorer.pool, "score", fails_now)
        status, body, _ = running.post({"records": [record()]})
        assert (status, "its log says why" in json.loads(body)["error"]) == (500, True)
        assert "RuntimeError: unforeseen" in caplog.text
        assert running.scorer.accepted == 0


def test_an_idle_connection_that_was_used_is_closed_too(server):
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as used:
        used.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += used.recv(10_000)
        assert answer.startswith(b"HTTP/1.1 200")
        used.sendall(b"GET /health HT")
        assert used.recv(10_000) == b""


def test_metrics_are_in_prometheus_text_and_count(server):
    def counts():
        text = server.get("/metrics")[1].decode()
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        assert all(re.fullmatch(r'[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [0-9.]+', line) for line in samples)
        named = {line.split(" ")[2] for line in text.splitlines() if line.startswith("# TYPE")}
        assert {re.sub(r"(_bucket|_sum|_count)?(\{.*)? .*", "", line) for line in samples} == named
        return dict(line.rsplit(" ", 1) for line in samples)

    before = counts()
    server.scores([record(1), {}, record(2)])
    server.post(b"", kind="text/plain")
    after = counts()

    def rise(name):
        return float(after[name]) - float(before.get(name, 0))

    assert (rise("rlkit_rows_total"), rise("rlkit_row_errors_total")) == (3, 1)
    assert rise('rlkit_requests_total{path="/score",code="200"}') == 1
    assert rise('rlkit_requests_total{path="/score",code="415"}') == 1
    assert rise("rlkit_request_seconds_count") == rise('rlkit_request_seconds_bucket{le="+Inf"}') == 2
    assert after["rlkit_workers"] == "2"


def test_one_connection_serves_many_requests(server):
    import http.client

    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    for i in range(3):
        body = json.dumps({"records": [record(i)]})
        connection.request("POST", "/score", body, {"Content-Type": "application/json"})
        assert json.loads(connection.getresponse().read())["scores"] == [offline(record(i))]
    connection.close()


def test_more_than_fits_is_told_when_to_come_back_and_nothing_accepted_is_lost(obeying, tmp_path):
    released = tmp_path / "released"
    waiting = {"records": [record(1, completion=f"until {released}"), record(2)]}
    with ThreadPoolExecutor(3) as clients:
        accepted = [clients.submit(obeying.post, waiting) for _ in range(3)]
        wait_for(lambda: obeying.scorer.accepted == 3)
        for _ in range(9):
            status, body, headers = obeying.post({"records": [record(3)]})
            assert status == 429
            assert int(headers["Retry-After"]) >= 1
            assert "all 3 places are taken" in json.loads(body)["error"]
        assert obeying.get("/health")[0] == 200
        released.write_text("")
        for answer in accepted:
            status, body, _ = answer.result(60)
            assert (status, [score["total"] for score in json.loads(body)["scores"]]) == (200, [0.5, 0.5])
    assert obeying.scores([record(3)])[0]["total"] == 0.5


def test_a_row_that_kills_its_process_costs_only_itself(obeying, tmp_path):
    rows = [record(i, completion=str(i)) for i in range(40)]
    rows[5]["completion"] = "die"
    rows[20]["completion"] = f"die-once {tmp_path / 'died'}"
    before = obeying.scorer.pool.restarts
    scores = obeying.scores(rows)
    lost = scores.pop(5)
    assert (lost["row"], "row 6: the process that scored it died, killed" in lost["error"]) == (6, True)
    assert [score.get("total") for score in scores] == [0.5] * 39
    assert obeying.scorer.pool.restarts - before == 3
    assert obeying.scores([record()])[0]["total"] == 0.5


def test_an_idle_process_that_is_killed_is_replaced(obeying):
    for worker in obeying.scorer.pool.workers:
        worker.kill()
        worker.join()
    assert json.loads(obeying.get("/health")[1])["workers"] == 0
    assert [score["total"] for score in obeying.scores([record(), record()])] == [0.5, 0.5]


def test_a_deadline_costs_the_rows_that_are_late_only():
    rows = [record(i) for i in range(2 * CHUNK_JOBS)]
    rows[1]["completion"] = "sleep 0.1"  # what is slow is handed over when it is done
    rows[3]["completion"] = "sleep 1000"
    with running_scorer(OBEYS, workers=2, deadline_seconds=4.0) as running:
        scores = running.scores(rows)
        assert [i for i, score in enumerate(scores) if "error" in score] == list(range(2, CHUNK_JOBS))
        assert scores[2]["error"].startswith("row 3: not scored within 4 s, the deadline of a request")


def test_what_a_reward_raises_is_an_error_of_its_row(obeying):
    score = obeying.scores([record(1, completion="raise ouch")])[0]
    assert score["error"] == "reward 'obeys' (obeys) failed on row q1: KeyError: 'ouch'"


def test_a_row_that_nothing_judges_has_no_total(obeying):
    assert obeying.scores([record(1, completion="none")]) == [{"total": None, "maximum": 1.0, "parts": {"obeys": None}}]


def openrlhf(*completions, **fields):
    label = json.dumps({k: v for k, v in record(1, **fields).items() if k != "completion"})
    return {"query": [f"Q {text}" for text in completions], "prompts": ["Q "] * len(completions),
            "labels": [label] * len(completions)}  # fmt: skip


def test_openrlhf_gets_rewards_shares_and_parts(server):
    good = record(1)["completion"].removesuffix(" 1")
    status, body, _ = server.post(openrlhf(good, "no idea"), path="/openrlhf")
    answer = json.loads(body)
    assert (status, answer["rewards"], answer["scores"]) == (200, [1.0, 0.0], [1.0, 0.0])
    assert answer["extra_logs"]["accuracy/earned"] == [0.7, 0.0]
    assert answer["extra_logs"]["maximum"] == [1.0, 1.0]


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        ({"query": ["Q x"], "prompts": ["Q "]}, 400, "lists of one length"),
        ({"query": ["Q x"], "prompts": [], "labels": ["{}"]}, 400, "lists of one length"),
        ({"query": ["other"], "prompts": ["Q "], "labels": ["{}"]}, 422, "row 1: a query starts with 'other'"),
        ({"query": ["Q x"], "prompts": ["Q "], "labels": ["Lisbon"]}, 422, "row 1: the label is 'Lisbon', but must be"),
        ({"query": [7], "prompts": ["Q "], "labels": ["{}"]}, 422, "must be text"),
        (openrlhf("x", golds=[]), 422, "golds is empty"),
    ],
)
def test_openrlhf_is_never_given_a_made_up_number(server, body, status, says):
    got, answer, _ = server.post(body, path="/openrlhf")
    assert got == status
    assert says in json.loads(answer)["error"]


def test_openrlhf_gets_no_zero_for_a_row_that_nothing_judges(obeying):
    status, body, _ = obeying.post(openrlhf("fine", "none"), path="/openrlhf")
    assert status == 422
    assert json.loads(body)["error"].startswith("row 2: no part of the reward gave a value")


def test_the_token_guards_all_but_health():
    with running_scorer(OBEYS, token="s3cret", unscored=-1.0) as running:
        assert running.scores([record()])[0]["total"] == 0.5
        body = running.post(openrlhf("none"), path="/openrlhf")[1]
        assert json.loads(body)["rewards"] == [-1.0]
        for wrong in ("s3cres", "", None, "s3cret2"):
            running.token = wrong
            for path, body in KINDS.items():
                status, answer, headers = running.post(body, path=path)
                assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
                assert "token" in json.loads(answer)["error"]
            assert running.get("/metrics")[0] == 401
            assert running.get("/health")[0] == 200
        for header, status in {"bearer s3cret": 200, "BEARER  s3cret": 200, "Basic s3cret": 401, "s3cret": 401}.items():
            running.token = None
            assert running.get("/metrics", headers={"Authorization": header})[0] == status, header


def test_a_server_that_ends_answers_what_it_accepted_and_refuses_the_rest(tmp_path):
    files = [tmp_path / "first", tmp_path / "second"]
    with running_scorer(OBEYS, workers=2) as running, ThreadPoolExecutor(2) as clients:
        accepted = [
            clients.submit(running.post, {"records": [record(1, completion=f"until {file}")]}) for file in files
        ]
        wait_for(lambda: running.scorer.accepted == 2)
        running.do(running.scorer.drain)
        wait_for(lambda: running.get("/health")[0] == 503)
        for file, answer in zip(files, accepted, strict=True):
            status, body, headers = running.post({"records": [record(2)]})
            assert (status, headers["Connection"]) == (503, "close")
            assert "ending" in json.loads(body)["error"]
            file.write_text("")
            status, body, _ = answer.result(60)
            assert (status, json.loads(body)["scores"][0]["total"]) == (200, 0.5)
        running.thread.join(60)
        assert not running.thread.is_alive()


def test_a_connection_without_a_request_is_closed_whatever_the_library_does():
    from rlkit.serving.server import Limits, Scorer

    closed = []
    silent = types.SimpleNamespace(transport=types.SimpleNamespace(abort=lambda: closed.append("silent")))
    gone = types.SimpleNamespace(transport=None)

    class Connection:  # hashable, as aiohttp's are
        def __init__(self, like):
            self.transport = like.transport

    async def run():
        scorer = Scorer(OBEYS, None, Limits(client_seconds=0.05), None, None)
        scorer.watch(Connection(silent))
        scorer.watch(Connection(gone))
        await asyncio.sleep(0.3)

    asyncio.run(run())
    assert closed == ["silent"]


def test_a_reward_that_cannot_travel_is_refused_at_the_start():
    with (
        pytest.raises(RlkitError, match="cannot be sent to worker processes"),
        running_scorer(weighted(mine=(1.0, lambda sample: 1.0))),
    ):
        pass


# Bodies and rows without a server


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.floats() | st.text(max_size=9), lambda x: st.lists(x, max_size=3) | st.dictionaries(
        st.sampled_from(["records", "query", "prompts", "labels", "completion", "golds", "context"]), x, max_size=5),
    max_leaves=9).map(lambda value: json.dumps(value).encode()))  # fmt: skip
def test_any_body_is_rows_or_one_refusal_and_any_row_a_result(body):
    for rows_of in (bodies.rows_of_json, bodies.rows_of_lines, bodies.rows_of_openrlhf):
        try:
            rows = rows_of(body, max_rows=50)
        except BadBody:
            continue
        for row in rows:
            assert b"\n" not in row[1]
            result = json.loads(bodies.score_row(REWARD, row))
            assert ("error" in result) != ("total" in result)
            assert bodies.is_error(bodies.score_row(REWARD, row)) == ("error" in result)


def test_a_part_that_abstained_says_why():
    reward = weighted(fine=(0.5, obeys), bad=(0.5, fails), on_error="abstain")
    result = json.loads(bodies.score_row(reward, (1, json.dumps(record(1)).encode())))
    assert (result["total"], result["parts"]) == (0.25, {"fine": 0.5, "bad": None})
    assert result["errors"] == {"bad": "reward 'bad' (fails) failed on row q1: ValueError: no"}


def fails(sample):
    raise ValueError("no")


def test_a_small_batch_is_shared_out_among_all_processes():
    pool = Pool(OBEYS, 3)
    given = []

    async def chunk(rows, deadline):
        given.append([place for place, _ in rows])
        return [b"%d" % place for place, _ in rows]

    pool._chunk = chunk
    assert asyncio.run(pool.score([(i, b"") for i in range(1, 8)], 1.0)) == [b"%d" % i for i in range(1, 8)]
    assert given == [[1, 2, 3], [4, 5, 6], [7]]


def test_an_error_message_does_not_give_a_hostile_row_back_whole():
    result = bodies.score_row(REWARD, (1, json.dumps({"k" * 1_000_000: 1}).encode()))
    assert len(result) < 5_000


# The command


def arguments(*words):
    parser = argparse.ArgumentParser()
    serve_rewards.add_arguments(parser)
    return parser.parse_args(["--rewards", "care", *words])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--host", "0.0.0.0"], r"--host 0\.0\.0\.0 can be reached from other machines.*--no-token"),
        (["--host", "::"], "can be reached"),
        (["--host", "my-machine"], "can be reached"),
        (["--workers", "0"], "--workers is 0, but must be from 1"),
        (["--max-requests", "0"], "--max-requests is 0, but must be above 0"),
        (["--deadline", "nan"], "--deadline is nan"),
        (["--token-file", "missing"], "--token-file missing: cannot be read"),
    ],
)
def test_what_cannot_be_served_is_refused(words, says, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(serve_rewards.TOKEN_VARIABLE, raising=False)
    with pytest.raises(ConfigError, match=says):
        serve_rewards.main(arguments(*words))


@pytest.mark.parametrize(("text", "says"), [("", "one word"), ("two words", "one word"), ("é", "one word")])
def test_a_token_is_one_word(text, says, tmp_path):
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=says):
        serve_rewards.main(arguments("--token-file", str(tmp_path / "token")))
    with pytest.raises(ConfigError, match="--no-token stands beside the token"):
        serve_rewards.main(arguments("--token-file", str(tmp_path / "token"), "--no-token"))


@pytest.mark.parametrize("words", [["--no-token"], ["--token-file", "token"]])
def test_other_addresses_are_open_to_those_who_say_so(words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "token").write_text("s3cret\n")
    token = serve_rewards._token(arguments(*words))
    assert serve_rewards.check_address("0.0.0.0", token, "--no-token" in words) is None
    assert token in (None, "s3cret")


def test_the_environment_may_hold_the_token(monkeypatch):
    monkeypatch.setenv(serve_rewards.TOKEN_VARIABLE, "s3cret")
    assert serve_rewards._token(arguments()) == "s3cret"


def test_a_port_that_is_taken_is_one_message(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert cli.main(["serve-rewards", "--rewards", "care", "--port", str(port), "--workers", "1"]) == 2
    assert f"error: cannot listen on 127.0.0.1 port {port}" in capsys.readouterr().err


def test_without_aiohttp_the_message_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.delitem(sys.modules, "rlkit.serving.server", raising=False)
    assert cli.main(["serve-rewards", "--rewards", "care"]) == 2
    assert "pip install 'grounded-rl[serve]'" in capsys.readouterr().err


def test_a_worker_process_imports_no_server_and_nothing_that_trains():
    code = "import sys, rlkit.serving.pool; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "transformers", "datasets", "aiohttp", "numpy"} & set(loaded)
