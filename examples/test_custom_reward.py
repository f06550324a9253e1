"""The example rewards keep the laws of a reward: three lines each."""

import pytest

from examples.custom_reward import brief, names_the_year
from rewards import RewardError, Sample
from rewards.config import from_config
from rewards.testing import check_reward


def test_names_the_year():
    check_reward(names_the_year)


def test_brief():
    check_reward(brief(max_words=3))


def test_in_a_config():
    reward = from_config(
        {
            "accuracy": {"use": "token_f1", "weight": 0.8},
            "year": {"use": "examples.custom_reward:names_the_year", "weight": 0.1},
            "brief": {"use": "examples.custom_reward:brief", "weight": 0.1, "max_words": 5},
        }
    )
    row = Sample(golds="1815", completion="<think>I remember.</think> Answer: in 1815")
    assert reward(row).parts == {"accuracy": pytest.approx(2 / 3), "year": 1.0, "brief": 1.0}
    with pytest.raises(RewardError, match=r"rewards\.brief: brief refuses these parameters: max_words is 0"):
        from_config({"brief": {"use": "examples.custom_reward:brief", "weight": 1, "max_words": 0}})
