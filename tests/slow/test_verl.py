"""The verl adapter inside the real package: its loader of custom functions and its reward managers.

verl brings its own versions of many libraries, so this runs in an environment of its own:
`pip install verl pytest rapidfuzz python-dateutil`, then pytest on this file.
"""

from __future__ import annotations

import asyncio

import pytest

from rewards import Sample, presets
from rewards.adapters import to_verl_row

pytest.importorskip("verl", reason="verl is not installed in this environment")
pytestmark = pytest.mark.slow

EMMA = "Emma is an 1815 novel by Jane Austen."
RECORD = {
    "id": "q1",
    "task": "care",
    "question": "Who wrote Emma?",
    "context": [{"title": "Emma", "text": EMMA}],
    "golds": ["Jane Austen"],
}
REPLIES = [
    f"<think><retrieval>{EMMA}</retrieval></think> Answer: Jane Austen",
    "<think>I know.</think> Answer: Jane Austen",
    "no idea",
]
FILE = """
from rewards import presets, weighted
from rewards.adapters import for_verl

compute_score = for_verl(presets.care())
compute_scores = for_verl(presets.care(), batch=True)
nothing = for_verl(weighted(never=(1.0, lambda sample: None)))
"""


class Characters:
    """A tokenizer with one token a character."""

    def decode(self, ids, skip_special_tokens):
        return "".join(map(chr, ids.tolist()))


def config(folder, name, manager="naive"):
    from omegaconf import OmegaConf

    (folder / "my_rewards.py").write_text(FILE)
    function = {"path": str(folder / "my_rewards.py"), "name": name}
    reward_manager = {"source": "register", "name": manager}
    return OmegaConf.create({"reward": {"custom_reward_function": function, "reward_manager": reward_manager}})


@pytest.fixture
def batch(tmp_path):
    """What a rollout hands to a reward manager, from a parquet file as verl reads it."""
    import datasets
    import numpy as np
    import torch
    from verl import DataProto

    rows = [to_verl_row(RECORD, [{"role": "user", "content": "Who wrote Emma?"}])] * len(REPLIES)
    datasets.Dataset.from_list(rows).to_parquet(str(tmp_path / "rows.parquet"))
    files = str(tmp_path / "rows.parquet")
    read = list(datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path))["train"])
    width = max(map(len, REPLIES))
    responses = torch.tensor([[*map(ord, reply), *[0] * (width - len(reply))] for reply in REPLIES])
    prompts = torch.full((len(REPLIES), 2), ord("Q"))
    attention = torch.cat([torch.ones_like(prompts), (responses != 0).long()], dim=1)
    columns = {name: np.array([row[name] for row in read], dtype=object) for name in read[0] if name != "prompt"}
    return DataProto.from_single_dict(
        {"prompts": prompts, "responses": responses, "attention_mask": attention, **columns}
    )


def offline():
    return [presets.care()(Sample.from_record(RECORD, completion=reply)) for reply in REPLIES]


@pytest.mark.parametrize("manager", ["naive", "dapo"])
def test_the_reward_loop_earns_the_offline_totals(manager, tmp_path, batch):
    from verl.trainer.ppo.reward import load_reward_manager

    async def run():
        loaded = load_reward_manager(config(tmp_path, "compute_score", manager), Characters())
        return [await loaded.run_single(batch[i : i + 1]) for i in range(len(REPLIES))]

    results = asyncio.run(run())
    assert [result["reward_score"] for result in results] == pytest.approx([score.total for score in offline()])
    for result, score in zip(results, offline(), strict=True):
        logged = result["reward_extra_info"]
        assert logged["maximum"] == pytest.approx(score.maximum)
        assert logged["grounding/applies"] == float(score.parts["grounding"] is not None)
    assert len({tuple(result["reward_extra_info"]) for result in results}) == 1


def test_validation_metrics_take_what_is_logged(tmp_path, batch):
    from verl.trainer.ppo.metric_utils import process_validation_metrics
    from verl.trainer.ppo.reward import load_reward_manager

    async def run():
        loaded = load_reward_manager(config(tmp_path, "compute_score"), Characters())
        return [(await loaded.run_single(batch[i : i + 1]))["reward_extra_info"] for i in range(len(REPLIES))]

    infos = asyncio.run(run())
    columns = {name: [info[name] for info in infos] for name in infos[0]}
    metrics = process_validation_metrics(["records"] * 3, ["u"] * 3, columns)["records"]
    accuracy = sum(0.7 * score.parts["accuracy"] for score in offline()) / 3
    assert metrics["accuracy/earned"]["mean@3"] == pytest.approx(accuracy)


def test_the_batch_manager_earns_the_offline_totals(tmp_path, batch):
    from verl.trainer.ppo.reward import get_custom_reward_fn
    from verl.workers.reward_manager.batch import BatchRewardManager

    function = get_custom_reward_fn(config(tmp_path, "compute_scores"))
    result = BatchRewardManager(Characters(), num_examine=0, compute_score=function)(batch, return_dict=True)
    assert result["reward_tensor"].sum(dim=1).tolist() == pytest.approx([score.total for score in offline()])
    assert result["reward_extra_info"]["score"] == pytest.approx([score.total for score in offline()])


def test_a_row_that_nothing_judges_stops_the_run(tmp_path, batch):
    from verl.trainer.ppo.reward import load_reward_manager

    async def run():
        return await load_reward_manager(config(tmp_path, "nothing"), Characters()).run_single(batch[:1])

    with pytest.raises(ValueError, match="no part of the reward gave a value for row q1"):
        asyncio.run(run())
