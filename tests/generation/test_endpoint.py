"""The endpoint against a real HTTP server on loopback that answers well, badly, late or not at first."""

import json
import pickle
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from rlkit.errors import ConfigError
from rlkit.generation.endpoint import FAILED, MAX_TOKENS, WINDOW, Endpoint, EndpointError

pytest.importorskip("openai", reason="the extra `llm` is not installed")

ASK = [{"role": "user", "content": "Who wrote Emma?"}]


def completion(text, **usage):
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}
    return {
        "id": "x",
        "object": "chat.completion",
        "created": 0,
        "model": "m",
        "choices": [choice],
        "usage": usage or None,
    }


class Server:
    """Plays a list of (status, body); the last one repeats. Bodies: object = JSON, bytes = as they are, callable = of the request."""

    def __init__(self, *script, delay_seconds=0.0):
        self.script, self.requests, self.busy, self.most_busy = list(script), [], 0, 0
        self.lock = threading.Lock()
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with server.lock:
                    server.requests.append(
                        (self.path, {name.lower(): value for name, value in self.headers.items()}, body)
                    )
                    server.busy += 1
                    server.most_busy = max(server.most_busy, server.busy)
                    status, answer = server.script.pop(0) if len(server.script) > 1 else server.script[0]
                time.sleep(delay_seconds)
                if callable(answer):
                    answer = answer(body)
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
                with server.lock:
                    server.busy -= 1
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if not data.startswith(b"<") else "text/html")
                self.send_header("retry-after-ms", "1")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        threading.Thread(target=self.http.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http.server_port}/v1"


@pytest.fixture
def serve(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "not-for-this-server")
    servers = []

    def start(*script, **options):
        servers.append(Server(*script, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.http.shutdown()
        server.http.server_close()


def test_an_answer_comes_with_its_tokens_and_the_settings_are_passed(serve):
    server = serve((200, completion("Jane Austen", prompt_tokens=11, completion_tokens=2, total_tokens=13)))
    endpoint = Endpoint(server.url, "m", sampling={"temperature": 0.5, "seed": 3, "extra_body": {"top_k": 5}})
    reply = pickle.loads(pickle.dumps(endpoint)).ask(ASK)
    assert (reply.text, reply.finish_reason, reply.prompt_tokens, reply.completion_tokens) == (
        "Jane Austen",
        "stop",
        11,
        2,
    )
    path, _, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert body == {"model": "m", "messages": ASK, "temperature": 0.5, "seed": 3, "top_k": 5}


def test_a_server_that_counts_no_tokens_and_an_empty_answer_are_no_errors(serve):
    reply = Endpoint(serve((200, completion(None))).url, "m").ask(ASK)
    assert (reply.text, reply.prompt_tokens, reply.completion_tokens) == ("", 0, 0)


def test_content_in_parts_is_joined_and_any_other_is_no_answer(serve):
    parts = [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "Jane "}, {"text": "Austen"}]
    assert Endpoint(serve((200, completion(parts))).url, "m").ask(ASK).text == "Jane Austen"
    for content in ({"text": "Jane"}, ["Jane"], 7, [{"type": "text", "text": {"value": "Jane"}}]):
        with pytest.raises(EndpointError, match="sent no chat completion"):
            Endpoint(serve((200, completion(content))).url, "m").ask(ASK)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(serve, status):
    server = serve((status, {"error": {"message": "later"}}), (status, {}), (200, completion("yes")))
    assert Endpoint(server.url, "m", max_retries=2).ask(ASK).text == "yes"
    assert len(server.requests) == 3


def test_after_the_last_retry_the_error_says_who_and_what(serve):
    server = serve((429, {"error": {"message": "quota used up"}}))
    with pytest.raises(EndpointError, match=r"^m at http://127\.0\.0\.1:[0-9]+/v1 answered 429: .*quota used up"):
        Endpoint(server.url, "m", max_retries=1).ask(ASK)
    assert len(server.requests) == 2


def test_a_refusal_is_not_repeated(serve):
    server = serve((404, {"error": {"message": "no such model"}}))
    with pytest.raises(EndpointError, match=r"no such model.*correct model, or base_url"):
        Endpoint(server.url, "m").ask(ASK)
    assert len(server.requests) == 1


def test_a_slow_server_is_left(serve):
    server = serve((200, completion("late")), delay_seconds=0.5)
    with pytest.raises(EndpointError, match=r"no answer within 0\.05 s; raise timeout_seconds"):
        Endpoint(server.url, "m", timeout_seconds=0.05, max_retries=0).ask(ASK)


def test_no_server(serve):
    server = serve((200, {}))
    server.http.server_close()
    with pytest.raises(EndpointError, match="out of reach"):
        Endpoint(server.url, "m", max_retries=0).ask(ASK)


@pytest.mark.parametrize(
    "body", [b"<html>hello</html>", b'{"choi', {"choices": []}, {"choices": None}, {"detail": "x"}, [1], b"[" * 200_000]
)
def test_what_is_no_chat_completion_is_an_error(serve, body):
    with pytest.raises(EndpointError, match="base_url, which usually ends in /v1"):
        Endpoint(serve((200, body)).url, "m", max_retries=0).ask(ASK)


def test_odd_figures_and_finish_reasons_of_one_reply_end_no_run(serve):
    def answered(tokens, finish_reason="stop"):
        made = completion("yes", prompt_tokens=tokens, completion_tokens=2)
        made["choices"][0]["finish_reason"] = finish_reason
        server = serve((200, json.dumps(made).encode()))
        return next(Endpoint(server.url, "m", max_retries=0, tolerate=1).complete([ASK]))

    assert answered(float("inf")).finish_reason == answered(float("nan")).finish_reason == "failed"
    assert (answered(-7).prompt_tokens, answered(10**400).prompt_tokens) == (0, MAX_TOKENS)
    assert answered(1, ["stop"]).finish_reason == "['stop']"  # text, whatever it was


def test_an_error_with_status_200_is_quoted_without_the_key(serve, monkeypatch):
    monkeypatch.setenv("LAB_KEY", "sk-secret")
    server = serve((200, {"error": {"message": "upstream is busy, key sk-secret", "code": 502}}))
    with pytest.raises(EndpointError, match=r"answered with an error: .*upstream is busy") as caught:
        Endpoint(server.url, "m", key_variable="LAB_KEY", max_retries=0).ask(ASK)
    assert "sk-secret" not in str(caught.value)
    assert caught.value.about == FAILED


def test_the_key_comes_from_the_named_variable_and_shows_nowhere(serve, monkeypatch):
    server = serve((401, lambda body: {"error": {"message": "bad key sk-secret"}}))
    endpoint = Endpoint(server.url, "m", key_variable="LAB_KEY")
    monkeypatch.delenv("LAB_KEY", raising=False)
    with pytest.raises(ConfigError, match="LAB_KEY"):
        endpoint.ask(ASK)
    monkeypatch.setenv("LAB_KEY", "sk-secret")
    with pytest.raises(EndpointError, match="401") as caught:
        endpoint.ask(ASK)
    assert server.requests[0][1]["authorization"] == "Bearer sk-secret"
    assert "sk-secret" not in str(caught.value) + repr(endpoint) + str(pickle.dumps(endpoint))


def test_without_a_named_variable_no_key_of_another_service_is_sent(serve):
    server = serve((200, completion("yes")))
    Endpoint(server.url, "m").ask(ASK)
    assert "not-for-this-server" not in json.dumps(server.requests[0][1])


def test_many_are_asked_at_once_but_never_more_than_allowed_and_come_back_in_order(serve):
    server = serve((200, lambda body: completion(body["messages"][0]["content"])), delay_seconds=0.02)
    endpoint = Endpoint(server.url, "m", concurrency=3)
    texts = [str(i) for i in range(12)]
    replies = endpoint.each(lambda text: endpoint.ask([{"role": "user", "content": text}]).text, texts)
    assert list(replies) == texts
    assert 2 <= server.most_busy <= 3


def test_items_are_drawn_lazily_and_nothing_starts_after_an_error():
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", concurrency=2)
    drawn, done = [], []

    def work(i):
        if i == 3:
            raise EndpointError("enough")
        done.append(i)
        return i

    results = endpoint.each(work, (drawn.append(i) or i for i in range(100)))
    assert next(results) == 0
    assert len(drawn) <= 2 * WINDOW
    with pytest.raises(EndpointError, match="enough"):
        list(results)
    assert len(drawn) <= 2 * WINDOW + 3
    assert len(done) < len(drawn)


def test_a_draft_that_the_server_keeps_apart_comes_with_the_text(serve):
    def answer(field, content):
        made = completion(content)
        made["choices"][0]["message"][field] = "Hm."
        return Endpoint(serve((200, made)).url, "m").ask(ASK).text

    assert answer("reasoning_content", "Yes.") == answer("reasoning", "Yes.") == "<think>Hm.</think>\nYes."
    assert answer("reasoning_content", None) == "<think>Hm."  # cut off before the text began
    assert answer("reasoning_content", "<think>Hm.</think>Yes.") == "<think>Hm.</think>Yes."


def test_half_a_surrogate_pair_is_replaced(serve):
    body = json.dumps(completion("a \ud83d b")).encode()
    assert b"\\ud83d" in body
    assert Endpoint(serve((200, body)).url, "m").ask(ASK).text == "a ? b"


def test_a_reply_tells_how_often_it_was_asked_again(serve):
    server = serve((429, {}), (500, {}), (200, completion("yes")))
    endpoint = Endpoint(server.url, "m", max_retries=2)
    assert [endpoint.ask(ASK).retries for _ in range(2)] == [2, 0]


def test_complete_lets_pass_what_it_is_told_to_and_no_more(serve):
    def some(body):
        return {"choices": []} if int(body["messages"][0]["content"]) % 3 else completion("yes")

    def asked(count):
        return [[{"role": "user", "content": str(number)}] for number in range(count)]

    endpoint = Endpoint(serve((200, some)).url, "m", concurrency=1, tolerate=2)
    seen = []
    replies = list(endpoint.complete(asked(7), lambda number, reply: seen.append((number, reply.finish_reason))))
    assert [reply.finish_reason for reply in replies] == ["stop", "failed", "failed"] * 2 + ["stop"]
    assert seen == [(number, reply.finish_reason) for number, reply in enumerate(replies)]
    assert "sent no chat completion" in replies[1].text
    with pytest.raises(EndpointError, match="no chat completion"):
        list(replace(endpoint, tolerate=1).complete(asked(7)))
    refused = replace(endpoint, base_url=serve((400, {"error": {"message": "too long"}})).url)
    assert [reply.finish_reason for reply in refused.complete(asked(2))] == ["refused"] * 2
    with pytest.raises(EndpointError, match="too long") as caught:
        list(refused.complete(asked(3)))
    assert caught.value.number == 2


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_no_request_can_get_past_is_an_error_however_much_is_tolerated(serve, status):
    server = serve((status, {"error": {"message": "no"}}))
    with pytest.raises(EndpointError, match=str(status)) as caught:
        list(Endpoint(server.url, "m", tolerate=100, concurrency=1).complete([ASK] * 9))
    assert caught.value.number is None
    assert len(server.requests) == 1


def test_a_403_after_an_answer_or_about_the_content_refuses_one_request_only(serve):
    no = (403, {"error": {"message": "no access"}})
    endpoint = Endpoint(
        serve((200, completion("yes")), no, (200, completion("yes"))).url, "m", tolerate=1, concurrency=1
    )
    assert [reply.finish_reason for reply in endpoint.complete([ASK] * 3)] == ["stop", "refused", "stop"]
    with pytest.raises(EndpointError, match=r"answered 403: .*no access"):
        list(replace(endpoint, base_url=serve((200, completion("yes")), no).url).complete([ASK] * 3))
    flagged = serve((403, {"error": {"message": "the input was flagged by moderation"}}), (200, completion("yes")))
    assert [r.finish_reason for r in replace(endpoint, base_url=flagged.url).complete([ASK] * 2)] == ["refused", "stop"]


def test_a_slow_answer_holds_up_no_others():
    endpoint = Endpoint("http://127.0.0.1:1/v1", "m", concurrency=2)
    first_may_end, done = threading.Event(), []

    def work(i):
        if i == 0:
            first_may_end.wait(10)
        done.append(i)
        return i

    results = endpoint.each(work, range(2 * WINDOW))
    consumer = threading.Thread(target=lambda: done.append(list(results)))
    consumer.start()
    deadline = time.monotonic() + 10
    while len(done) < 2 * WINDOW - 1 and time.monotonic() < deadline:
        time.sleep(0.005)
    assert sorted(done) == list(range(1, 2 * WINDOW))
    first_may_end.set()
    consumer.join()
    assert done[-1] == list(range(2 * WINDOW))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"base_url": "127.0.0.1:8000"}, "base_url"),
        ({"base_url": "http://user:secret@host/v1"}, "base_url holds"),
        ({"base_url": "https://host/v1?key=secret"}, "base_url holds"),
        ({"model": ""}, "model is empty"),
        ({"concurrency": 0}, "concurrency is 0"),
        ({"concurrency": 2.5}, "concurrency is 2.5, but must be a whole number"),
        ({"tolerate": True}, "tolerate is True"),
        ({"timeout_seconds": float("nan")}, "timeout_seconds is nan"),
        ({"timeout_seconds": 0}, "timeout_seconds is 0, .* more than 0"),
        ({"timeout_seconds": -1}, "timeout_seconds is -1"),
        ({"sampling": {"stream": True}}, "sampling sets stream"),
    ],
)
def test_bad_settings_stop_at_once_and_show_no_secret(settings, message):
    with pytest.raises(ConfigError, match=message) as caught:
        Endpoint(**{"base_url": "http://127.0.0.1:1/v1", "model": "m", **settings})
    assert "secret" not in str(caught.value)


def test_an_unknown_setting_is_named(serve):
    with pytest.raises(ConfigError, match=r"sampling: .*temprature.*extra_body"):
        Endpoint(serve((200, {})).url, "m", sampling={"temprature": 1}).ask(ASK)


def test_a_missing_client_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "openai", None)
    with pytest.raises(ConfigError, match=r"grounded-rl\[llm\]"):
        Endpoint("http://127.0.0.1:1/v1", "m").ask(ASK)
