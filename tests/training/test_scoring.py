"""How a training scores: in time, in other processes, and alike on all processes."""

from __future__ import annotations

import copy
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rewards import Sample, care_format, exact_match, presets, quotes_in_context, token_f1, weighted
from rewards.errors import RewardError
from rlkit.config import differences, parse_config
from rlkit.deadline import deadline
from rlkit.errors import ConfigError
from rlkit.training.reward_workers import with_shared_rows
from rlkit.training.scoring import Scorer, fingerprint
from rlkit.training.scoring_options import Scoring
from tests.training import parts_for_tests as parts

ROOT = Path(__file__).resolve().parents[2]
CONFIG = {
    "method": "grpo",
    "scratch": {"model_type": "qwen2"},
    "sources": {"s": {"format": "records", "path": "rows.jsonl"}},
    "train": {"max_steps": 9},
}


def rows(*completions: str) -> list[Sample]:
    return [Sample(id=f"q{i}", completion=completion) for i, completion in enumerate(completions)]


# In time


def test_a_part_that_sleeps_is_named_with_its_row() -> None:
    score = Scorer(weighted(fine=(1.0, parts.obeys)), Scoring(timeout_seconds=0.2))
    started = time.monotonic()
    with pytest.raises(
        RewardError, match=r"^reward 'fine' \(obeys\) failed on row q1: 3 completions .* within 0\.2 s \(scoring"
    ):
        score(rows("ok", "sleep 60", "ok"), {})
    assert time.monotonic() - started < 30
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
    assert [found.total for found in score(rows("ok"), {})] == [1.0]


def test_a_loop_is_interrupted_and_no_abstention_hides_it() -> None:
    reward = weighted(on_error="abstain", fine=(1.0, parts.obeys))
    with pytest.raises(RewardError, match="failed on row q0: 1 completions"):
        Scorer(reward, Scoring(timeout_seconds=0.2))(rows("spin"), {})
    assert Scorer(reward, Scoring())(rows("fail"), {})[0].errors


def test_an_alarm_that_was_set_before_goes_on() -> None:
    rung: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: rung.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.3)
        with deadline(30, "late"):
            assert signal.getitimer(signal.ITIMER_REAL)[0] > 1
        end = time.monotonic() + 30
        while not rung and time.monotonic() < end:
            time.sleep(0.01)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert rung == [signal.SIGALRM]


def test_what_cannot_be_interrupted_ends_the_process() -> None:
    code = (
        "import rlkit.deadline as d; from rewards import Sample, weighted; from tests.training.parts_for_tests import swallows\n"
        "d.GRACE_SECONDS = 0.3\n"
        "with d.deadline(0.2, 'too late', lambda: print('told')): weighted(bad=(1, swallows))(Sample(id='q7'))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 2
    assert "error: reward 'bad' failed on row q7: too late, and it cannot be interrupted" in done.stderr
    assert "parts_for_tests.py" in done.stderr  # where it is


# In other processes


@pytest.fixture
def scorers() -> Iterator[Any]:
    made: list[Scorer] = []

    def scorer(reward: Any, workers: int = 2, timeout_seconds: float = 60.0) -> Scorer:
        made.append(Scorer(reward, Scoring(workers=workers, timeout_seconds=timeout_seconds)))
        return made[-1]

    yield scorer
    for each in made:
        each.close()


def test_workers_give_the_same_scores_and_import_no_torch(scorers: Any) -> None:
    reward = weighted(
        accuracy=(0.3, token_f1()), batch=(0.1, parts.of_the_batch), grounding=(0.2, quotes_in_context()),
        format=(0.1, care_format()), obeys=(0.3, parts.obeys), on_error="abstain",
    )  # fmt: skip
    said = ["<think><retrieval>Ulm is not.</retrieval></think> Answer: Rome", "fail", "none", ""]
    batch = [
        Sample(id=f"q{i // 4}", golds="Rome", context=["Rome is old. " * 50, "Ulm is not."], completion=said[i % 4])
        for i in range(20)
    ]
    score = scorers(reward)
    for _ in range(2):
        assert score(batch, {}) == Scorer(reward, Scoring())(batch, {})
    alone = scorers(weighted(torch=(1.0, parts.has_torch), where=(1.0, parts.process_id)))(rows(*["ok"] * 6), {})
    assert {found.parts["torch"] for found in alone} == {0.0}
    places = {found.parts["where"] for found in alone}
    assert len(places) == 2
    assert os.getpid() not in places


def test_what_goes_wrong_in_a_worker_is_said(scorers: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    score = scorers(weighted(fine=(1.0, parts.obeys)), workers=1)
    with pytest.raises(RewardError, match=r"reward 'fine' \(obeys\) failed on row q1: KeyError: 'x'"):
        score(rows("ok", "fail x"), {})
    with caplog.at_level(logging.WARNING):
        assert [found.total for found in score(rows("ok", f"exit_once {tmp_path / 'x'}", "ok"), {})] == [1.0] * 3
    assert "a worker process has died and is replaced" in caplog.text
    with pytest.raises(RewardError, match=r"row q0: the worker process that scored it died, .* and so did the next"):
        score(rows("exit", "ok"), {})


def test_a_worker_that_is_late_says_where_it_is_or_is_killed(scorers: Any) -> None:
    score = scorers(weighted(fine=(1.0, parts.obeys)), workers=1, timeout_seconds=1.0)
    with pytest.raises(RewardError, match=r"reward 'fine' \(obeys\) failed on row q1: 3 completions .* within 1 s"):
        score(rows("ok", "sleep 60", "ok"), {})
    score = scorers(weighted(bad=(1.0, parts.swallows)), workers=1, timeout_seconds=1.0)
    with pytest.raises(RewardError, match=r"row q0: 1 completions .* and it could not be interrupted"):
        score(rows("ok"), {})


def test_what_cannot_be_sent_is_scored_here(scorers: Any, caplog: pytest.LogCaptureFixture) -> None:
    here = weighted(local=(0.5, lambda sample: float(os.getpid())), batch=(0.5, parts.of_the_batch))
    with caplog.at_level(logging.WARNING):
        (found,) = scorers(here)(rows("ok"), {})
    assert found.parts == {"local": os.getpid(), "batch": 1.0}
    assert "in the training process all the same: local (<lambda>): cannot be sent to another process" in caplog.text
    assert "batch (of_the_batch): is a TRL-style function" in caplog.text


def test_more_workers_than_a_machine_has_use_for_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"scoring\.workers: is 100000, but must be at most"):
        Scorer(presets.care(), Scoring(workers=100_000))


def test_a_long_context_is_sent_once() -> None:
    made = [Sample(id="q", context=[" ".join("word" for _ in range(9))], completion=str(i)) for i in range(3)]
    shared = with_shared_rows([*made, Sample(id="p", context=["other"])])
    assert shared[:3] == made
    assert shared[0].context is shared[1].context is shared[2].context
    assert shared[3].context is not shared[0].context


def test_what_was_parsed_does_not_travel() -> None:
    sample = Sample(completion="<think></think> Answer: Rome")
    assert sample.care is sample.care
    twin = copy.copy(sample)
    assert twin == sample
    assert "care" not in twin.__dict__


# Alike


def test_a_reward_is_known_by_parts_weights_and_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = fingerprint(presets.care())
    assert one == fingerprint(presets.care())
    for other in (
        presets.care(accuracy=(0.6, token_f1())), presets.care(accuracy=(0.7, exact_match())),
        presets.care(grounding=(0.2, quotes_in_context(threshold=0.9))), presets.care(more=(0.1, parts.obeys)),
    ):  # fmt: skip
        assert fingerprint(other) != one
    (tmp_path / "mine_in_two_versions.py").write_text("def mine(sample): return 1.0\n")
    monkeypatch.syspath_prepend(tmp_path)
    from mine_in_two_versions import mine  # type: ignore[import-not-found]

    before = fingerprint(weighted(mine=(1.0, mine)))
    (tmp_path / "mine_in_two_versions.py").write_text("def mine(sample): return 0.5\n")
    assert fingerprint(weighted(mine=(1.0, mine))) != before


@pytest.fixture
def two_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """This process is the first of two, and what it hands over comes back from the second, changed by `theirs`."""
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")


def meet(monkeypatch: pytest.MonkeyPatch, **theirs: float) -> list[int]:
    asked: list[int] = []

    def gather(mine: list[Any]) -> list[Any]:
        asked.append(1)
        sample, given = mine[0]
        return [mine[0], (sample, {**given, **theirs})]

    monkeypatch.setattr("accelerate.utils.gather_object", gather)
    return asked


@pytest.mark.usefixtures("two_processes")
def test_processes_are_compared_every_so_many_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = meet(monkeypatch)
    score = Scorer(weighted(fine=(1.0, parts.obeys), batch=(1.0, parts.of_the_batch)), Scoring(compare_every=3))
    for _ in range(7):
        score(rows("ok", "none"), {})
    assert len(asked) == 3
    never = Scorer(weighted(fine=(1.0, parts.obeys)), Scoring(compare_every=0))
    never(rows("ok"), {})
    assert len(asked) == 3


@pytest.mark.usefixtures("two_processes")
def test_a_reward_that_differs_between_processes_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    meet(monkeypatch, fine=0.25)
    with pytest.raises(
        RewardError, match=r"'fine' \(obeys\) gives 0\.25 on process 1 and 1\.0 on process 0 .* row q0; every"
    ):
        Scorer(weighted(fine=(1.0, parts.obeys)), Scoring())(rows("ok"), {})
    drawn = iter(range(1, 9))
    with pytest.raises(RewardError, match=r"and 3\.0 when asked again: it is random; .* scoring\.compare_every: 0"):
        Scorer(weighted(fine=(1.0, lambda sample: float(next(drawn)))), Scoring())(rows("ok"), {})


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"timeout_seconds": 0}, r"scoring\.timeout_seconds: is 0, but must be a number of seconds above 0"),
        ({"timeout_seconds": True}, "is True, but must be a number"),
        ({"timeout_seconds": float("nan")}, "is nan, but must be a number"),
        ({"timeout_seconds": 1800}, r"1800 is not below the 1800 s of train\.ddp_timeout, .* lower it"),
        ({"workers": -1}, r"scoring\.workers: is -1, but must be a whole number of at least 0"),
        ({"compare_every": 2.5}, r"scoring\.compare_every: is 2\.5"),
        ({"work": 1}, r"scoring\.work: no such key\. Did you mean 'workers'\?"),
        ([], r"scoring: is \[\], but must be a mapping"),
    ],
)
def test_wrong_options_are_refused(section: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        parse_config({**CONFIG, "scoring": section})


def test_options_that_change_no_result_do_not_make_another_run() -> None:
    config = parse_config({**CONFIG, "scoring": {"timeout_seconds": 60, "workers": 3}})
    assert (config.scored.timeout_seconds, config.scored.workers, config.scored.compare_every) == (60, 3, 25)
    assert differences(parse_config(CONFIG), config) == []
    assert parse_config(config.to_dict()) == config
    longer = {"max_steps": 9, "ddp_timeout": 9000}
    assert (
        parse_config({**CONFIG, "train": longer, "scoring": {"timeout_seconds": 1800}}).scored.timeout_seconds == 1800
    )
    with pytest.raises(ConfigError, match="scoring: given, but method sft has no reward"):
        parse_config({**CONFIG, "method": "sft", "scoring": {"workers": 1}})


def test_the_presets_have_one_fingerprint_in_every_process() -> None:
    """A parameter that is a function lies somewhere else in each process, and is the same function."""
    code = (
        "import sys; ballast = [object() for _ in range(int(sys.argv[1]))]\n"
        "from rewards import presets; from rlkit.training.scoring import fingerprint\n"
        "print(fingerprint(presets.care()), fingerprint(presets.memory_t1()))"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", code, ballast], capture_output=True, text=True, check=True, cwd=ROOT
        ).stdout
        for ballast in ("0", "100000", "300000")
    }
    assert len(told) == 1
    assert len(set(told.pop().split())) == 2
