"""The verifiers adapters inside the real package: tasks of verifiers 0.4 and later, rubrics of those before.

verifiers needs other versions of libraries than training does, so these tests run in an environment of their own:
`pip install verifiers pytest rapidfuzz python-dateutil` (and `verifiers==0.1.14` for the rubric), then pytest on this file.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rewards import Sample, presets, token_f1, weighted
from rewards.adapters import for_verifiers, rubric_for_verifiers, to_verifiers_row

verifiers = pytest.importorskip("verifiers", reason="verifiers is not installed in this environment")
v1 = pytest.importorskip("verifiers.v1")
pytestmark = pytest.mark.slow
with_tasks = pytest.mark.skipif(hasattr(verifiers, "Rubric"), reason=f"verifiers {verifiers.__version__} is before 0.4")
with_rubrics = pytest.mark.skipif(
    not hasattr(verifiers, "Rubric"), reason=f"verifiers {verifiers.__version__} has no Rubric"
)

EMMA = "Emma is an 1815 novel by Jane Austen."
RECORD = {
    "id": "q1",
    "task": "care",
    "question": "Who wrote Emma?",
    "context": [{"title": "Emma", "text": EMMA}],
    "golds": ["Jane Austen"],
}
PROMPT = [{"role": "user", "content": "Who wrote Emma?"}]
REPLIES = {
    "right": f"<think><retrieval>{EMMA}</retrieval></think> Answer: Jane Austen",
    "ungrounded": "<think>I know.</think> Answer: Jane Austen",
    "wrong": "no idea",
}


def crashes(sample):
    raise KeyError("always")


def never(sample):
    return None


def offline(reward, reply):
    return reward(Sample.from_record(RECORD, completion=reply))


def documented(start):
    """What the block of the documentation defines that starts with a line."""
    page = Path(__file__).resolve().parents[2] / "docs" / "frameworks.md"
    blocks = page.read_text(encoding="utf-8").split("```")[1::2]
    names = {"__name__": "documented"}
    exec(next(block for block in blocks if block.startswith(f"text\n{start}\n")).removeprefix("text\n"), names)
    return names


@with_tasks
class TestTasks:
    def scored(self, reward, reply, reasoning=None, **options):
        class CareData(v1.TaskData):
            record: dict

        class CareTask(v1.Task[CareData]):
            care = v1.reward(for_verifiers(reward, **options))

        task = CareTask(CareData(prompt="Who wrote Emma?", record=RECORD))
        trace = self.trace(task, reply, reasoning)
        asyncio.run(task.score(trace))
        return trace

    def trace(self, task, reply, reasoning=None):
        from verifiers.v1.graph import MessageNode

        trace = v1.Trace(
            task=v1.TraceTask(type=type(task).__name__, data=task.data, key=task.key, hash=task.hash),
            agent=v1.AgentInfo(config=v1.AgentConfig(runtime=v1.SubprocessConfig())),
        )
        message = v1.AssistantMessage(content=reply, reasoning_content=reasoning)
        trace.nodes.append(MessageNode(message=v1.types.UserMessage(content="Who wrote Emma?")))
        trace.nodes.append(MessageNode(parent=0, message=message, sampled=True))
        return trace

    @pytest.mark.parametrize("reply", REPLIES)
    def test_a_trace_earns_the_offline_total_under_the_names_of_the_parts(self, reply):
        reward = presets.care()
        score = offline(reward, REPLIES[reply])
        trace = self.scored(reward, REPLIES[reply])
        assert trace.reward == pytest.approx(score.total)
        assert set(trace.rewards) == {name for name, value in score.parts.items() if value is not None}

    def test_reasoning_that_the_server_split_off_counts(self):
        reasoning, answer = REPLIES["right"].removeprefix("<think>").split("</think>")
        assert self.scored(presets.care(), answer, reasoning).reward == pytest.approx(1.0)

    def test_a_part_that_does_not_apply_is_not_in_the_trace(self):
        trace = self.scored(weighted(accuracy=(0.5, token_f1()), never=(0.5, never)), REPLIES["right"])
        assert set(trace.rewards) == {"accuracy"}

    @pytest.mark.parametrize(("part", "says"), [(crashes, "KeyError: 'always'"), (never, "no part of the reward")])
    def test_a_failure_is_a_task_error_and_no_zero(self, part, says):
        with pytest.raises(v1.TaskError, match=says):
            self.scored(weighted(bad=(1.0, part)), REPLIES["right"])

    def test_a_row_without_a_score_gets_what_the_caller_says(self):
        assert self.scored(weighted(bad=(1.0, never)), "x", unscored=-1.0).reward == -1.0

    def test_the_example_of_the_documentation(self):
        example = documented("import verifiers.v1 as vf")
        task = example["task_of"](RECORD, "Who wrote Emma?")
        trace = self.trace(task, REPLIES["ungrounded"])
        asyncio.run(task.score(trace))
        assert trace.reward == pytest.approx(offline(presets.care(), REPLIES["ungrounded"]).total)

    def test_a_config_can_name_the_function(self):
        from verifiers.v1.utils.loaders import load_plugged_fn

        config = v1.RewardFunctionConfig(fn="tests.slow.test_verifiers:PLUGGED")
        assert load_plugged_fn("care", config, "reward").__name__ == "care"


PLUGGED = for_verifiers(presets.care())


class FakeModel(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that always gives the same reply."""

    reply = ""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": self.reply}}
        usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
        answer = {
            "id": "1",
            "object": "chat.completion",
            "created": 1,
            "model": "m",
            "choices": [choice],
            "usage": usage,
        }
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@with_rubrics
class TestRubrics:
    def generate(self, rubric, reply, monkeypatch, rollouts=2):
        from datasets import Dataset

        monkeypatch.setattr(FakeModel, "reply", reply)
        monkeypatch.setenv("FAKE_KEY", "none")
        rows = Dataset.from_list([to_verifiers_row(RECORD, PROMPT)])
        return self.evaluate(verifiers.SingleTurnEnv(dataset=rows, eval_dataset=rows, rubric=rubric), rollouts)

    def evaluate(self, env, rollouts):
        with ThreadingHTTPServer(("127.0.0.1", 0), FakeModel) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            client = verifiers.ClientConfig(
                api_key_var="FAKE_KEY", api_base_url=f"http://127.0.0.1:{server.server_port}/v1"
            )
            try:
                return env.evaluate_sync(client=client, model="m", num_examples=1, rollouts_per_example=rollouts)
            finally:
                server.shutdown()

    def test_the_example_of_the_documentation(self, monkeypatch):
        monkeypatch.setattr(FakeModel, "reply", REPLIES["right"])
        monkeypatch.setenv("FAKE_KEY", "none")
        env = documented("import verifiers as vf")["load_environment"]([RECORD], [PROMPT])
        assert self.evaluate(env, rollouts=1)["outputs"][0]["reward"] == pytest.approx(1.0)

    @pytest.mark.parametrize("reply", REPLIES)
    def test_rollouts_earn_the_offline_total(self, reply, monkeypatch):
        reward = presets.care()
        score = offline(reward, REPLIES[reply])
        outputs = self.generate(rubric_for_verifiers(reward), REPLIES[reply], monkeypatch)["outputs"]
        assert [output["reward"] for output in outputs] == pytest.approx([score.total] * 2)
        for name, value in score.parts.items():
            metrics = outputs[0]["metrics"]
            assert metrics[f"{name}/earned"] == pytest.approx(reward.weights[name] * (value or 0.0))
            assert metrics[f"{name}/applies"] == float(value is not None)

    @pytest.mark.parametrize(("part", "says"), [(crashes, "KeyError: 'always'"), (never, "no part of the reward")])
    def test_a_failure_stops_and_is_no_zero(self, part, says, monkeypatch, caplog):
        reward = weighted(bad=(1.0, part))
        with caplog.at_level(logging.CRITICAL), pytest.raises(Exception, match=says):
            self.generate(rubric_for_verifiers(reward), REPLIES["right"], monkeypatch)

    def test_a_row_without_a_score_gets_what_the_caller_says(self, monkeypatch):
        rubric = rubric_for_verifiers(weighted(bad=(1.0, never)), unscored=-1.0)
        outputs = self.generate(rubric, "x", monkeypatch, rollouts=1)["outputs"]
        assert outputs[0]["reward"] == -1.0
