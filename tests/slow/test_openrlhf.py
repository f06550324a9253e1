"""The OpenRLHF adapter inside the real agent executors: the function from a file, the agent step, the remote URL.

OpenRLHF itself needs accelerators, its executors do not: `pip install --no-deps openrlhf pylatexenc` beside torch,
transformers, deepspeed and aiohttp, in an environment of its own, then pytest on this file.
"""

from __future__ import annotations

import asyncio
import json
import types

import pytest

from rewards import Sample, presets
from rewards.adapters import to_openrlhf_row

agent = pytest.importorskip("openrlhf.utils.agent", reason="openrlhf cannot be imported in this environment")
pytestmark = pytest.mark.slow

EMMA = "Emma is an 1815 novel by Jane Austen."
RECORD = {
    "id": "q1",
    "task": "care",
    "question": "Who wrote Emma?",
    "context": [{"title": "Emma", "text": EMMA}],
    "golds": ["Jane Austen"],
}
REPLIES = [f"<think><retrieval>{EMMA}</retrieval></think> Answer: Jane Austen", "<think></think> Answer: Austen", "no"]
ROW = to_openrlhf_row(RECORD, "<|im_start|>user\nWho wrote Emma?<|im_end|>\n<|im_start|>assistant\n")
FILE = """
from openrlhf.utils.agent import AgentInstanceBase, MultiTurnAgentExecutor

from rewards import presets, weighted
from rewards.adapters import for_openrlhf

reward_func = for_openrlhf(presets.care())


class AgentInstance(AgentInstanceBase):
    def __init__(self):
        pass

    async def step(self, states, **options):
        return await reward_func.step(states)


class AgentExecutor(MultiTurnAgentExecutor):
    def __init__(self):
        super().__init__(AgentInstance)
"""


class Characters:
    """A tokenizer with one token a character."""

    def __call__(self, text, add_special_tokens, return_tensors):
        import torch

        return {"input_ids": torch.tensor([[*map(ord, text)]], dtype=torch.long)}

    def decode(self, ids, skip_special_tokens):
        return "".join(map(chr, ids))


class Engine:
    """A model that always gives the same reply."""

    def __init__(self, reply):
        self.reply = reply + "<|im_end|>"

    async def generate(self, tokens, sampling_params, multi_modal_data):
        output = types.SimpleNamespace(
            token_ids=[*map(ord, self.reply)], text=self.reply, finish_reason="stop", logprobs=None
        )
        return types.SimpleNamespace(outputs=[output])


def run(executor, reply):
    sampling = types.SimpleNamespace(max_tokens=500, logprobs=None)
    return asyncio.run(executor.execute(ROW["input"], ROW["label"], sampling, 4000, Characters(), Engine(reply)))


def experience(response):
    """The part of OpenRLHF's samples generator that turns a response into tensors."""
    import torch

    reward = torch.tensor([response["reward"]]).flatten()
    logs = {name: value.flatten()[0].item() if hasattr(value, "flatten") else value[0]
            for name, value in response["extra_logs"].items()}  # fmt: skip
    return reward.item(), torch.tensor([response["scores"]]).flatten().item(), logs


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "reward_func.py"
    path.write_text(FILE)
    return path


def check(response, reply):
    score = presets.care()(Sample.from_record(RECORD, completion=reply))
    reward, share, logs = experience(response)
    assert reward == pytest.approx(score.total)
    assert share == pytest.approx(score.total / score.maximum)
    assert logs["accuracy/earned"] == pytest.approx(0.7 * score.parts["accuracy"])


@pytest.mark.parametrize("reply", REPLIES)
def test_a_reward_function_from_a_file(file, reply):
    check(run(agent.SingleTurnAgentExecutor(str(file)), reply), reply)


@pytest.mark.parametrize("reply", REPLIES)
def test_an_agent_of_one_turn(file, reply):
    import importlib.util

    spec = importlib.util.spec_from_file_location("agent_module", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    response = run(module.AgentExecutor(), reply)
    assert response["reward"] == pytest.approx(presets.care()(Sample.from_record(RECORD, completion=reply)).total)


def test_the_remote_reward_of_serve_rewards():
    from serving_for_tests import running_scorer

    with running_scorer(presets.care()) as scorer:
        for reply in REPLIES:
            check(run(agent.SingleTurnAgentExecutor(f"http://127.0.0.1:{scorer.port}/openrlhf"), reply), reply)


def test_a_failure_is_no_reward_at_all(file):
    broken = {**ROW, "label": json.dumps({**RECORD, "golds": []})}
    executor = agent.SingleTurnAgentExecutor(str(file))
    sampling = types.SimpleNamespace(max_tokens=500, logprobs=None)
    response = asyncio.run(
        executor.execute(ROW["input"], broken["label"], sampling, 4000, Characters(), Engine(REPLIES[0]))
    )
    assert response["reward"] is None
