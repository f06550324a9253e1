"""`rlkit train`: one config, one run folder. The same under deepspeed, torchrun and alone.

Everything that can be wrong with config, data or rewards is found before a model is loaded.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from typing import Any

from rewards import Weighted
from rewards.config import from_config as rewards_from_config
from rlkit.checkpoints import full_disk
from rlkit.config import Config, load_config
from rlkit.errors import ConfigError, RunError
from rlkit.fitting import fitted
from rlkit.held_out import held_out_rows, held_out_sources
from rlkit.machine import lacking
from rlkit.runs import Run, hold, open_run, release, start, write_json
from rlkit.sources import Planned, Sources, check_demonstration, in_order, load_sources, plan_rows
from rlkit.training.figures import measure_of
from rlkit.training.support import with_start_model

_log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. train.max_steps=20")
    parser.add_argument("--resume", action="store_true", help="continue an existing run; refuse to start a new one")


def main(args: argparse.Namespace) -> int:
    run = train(load_config(args.config, args.overrides), resume=args.resume)
    from rlkit.training import processes

    if processes.rank() != 0:  # the first process writes done.json last, perhaps after this one has come here
        return 0
    stopped = json.loads(run.done.read_text(encoding="utf-8")).get("stopped")
    ended = f"stopped by alarm {stopped}, see {run.alarms}" if stopped else "done"
    print(f"{ended}: {run.folder} (model: {run.model})", file=sys.stderr)
    return 1 if stopped else 0


def train(config: Config, *, resume: bool = False) -> Run:
    """Train as the config says and return the run; a killed run continues when the same config is trained again.

    `resume=True` insists that there is a run to continue. Raises `ConfigError`, `DataError`, `RewardError` or
    `RunError` before any accelerator is held.
    """
    from rlkit.training import processes
    from rlkit.training.stopping import follow_launcher
    from rlkit.training.together import stopping_together

    follow_launcher()
    world = processes.world_size()
    # Every process looks for itself and finds the same, so that no group has to exist for a refusal.
    reward, sources = processes.same(lambda: preflight(config, world, resume))
    run = Run(config.output_dir)
    try:
        if processes.rank() == 0:
            # Before the processes meet, because a second run would fail to take the first one's port.
            hold(run)
            open_run(config, world_size=world)  # another run may have finished here meanwhile
        processes.join(config)
        with stopping_together():
            processes.first(lambda: start(run, config, world))
            _train(config, run, reward, sources, world)
    except Exception as error:
        said = full_disk(error)
        if said is None:
            raise
        raise RunError(
            f"{run.folder}: nothing more could be written ({said}): the disk or a quota is full, so the run ends here; free some space (see also "
            "train.save_total_limit) and start the same command again: it goes on from its newest whole checkpoint."
        ) from error
    finally:
        release(run)
        processes.leave()
    return run


def preflight(
    config: Config, world_size: int = 1, must_exist: bool = False, start_comes: bool = False
) -> tuple[Weighted | None, Sources]:
    """Everything that can be refused without a model: rewards, files, run folder, data, batch arithmetic, curriculum.

    `start_comes`: the model that the run starts from is made later.
    """
    reward = None if config.rewards is None else rewards_from_config(config.to_dict()["rewards"])
    lacks = lacking(config, start_comes)
    if lacks:
        raise ConfigError(" ".join(lacks))
    open_run(config, world_size=world_size, must_exist=must_exist)
    sources = load_sources(config)
    plan_rows(config, sources, world_size)
    held_out_sources(config, sources)
    if config.watched is not None:
        measure_of(config.watched.correct)
    if config.method == "sft":
        for name, record in sources.records():
            check_demonstration(name, record)
    return reward, sources


def _train(config: Config, run: Run, reward: Weighted | None, sources: Sources, world: int) -> None:
    from rlkit.training import common, processes
    from rlkit.training.wording import check_wording

    common.quiet_libraries()
    if config.scratch is None:
        given = common.load_tokenizer(str(config.model["model_name_or_path"]), config)
        for note in processes.first(lambda: check_wording(config, sources, given)):
            _log.warning("%s", note)
    model = common.start_model(config, run, sources)
    tokenizer = common.load_tokenizer(model, config)
    planned = _plan(config, run, sources, tokenizer, world)
    processes.agree("the plan", planned.plan.fingerprint())
    if reward is None:
        from rlkit.training.sft import train_sft

        train_sft(config, run, planned, model, tokenizer)
    else:
        from rlkit.training.grpo import train_grpo

        held_out = held_out_sources(config, sources)
        if held_out is not None:
            processes.first(lambda: len(held_out_rows(config, held_out, tokenizer)))  # fills the cache once, for all
        probe = None if held_out is None else held_out_rows(config, held_out, tokenizer)
        reward = with_start_model(reward, model, config.prompt.system)
        train_grpo(config, run, reward, planned, model, tokenizer, probe)


def _plan(config: Config, run: Run, sources: Sources, tokenizer: Any, world: int) -> Planned:
    from rlkit.training import processes

    processes.first(lambda: fitted(config, sources, tokenizer).sizes())  # fills the cache once, for all
    ready = fitted(config, sources, tokenizer)
    reports = {name: {"read": sources.loaded[name].report.to_dict()} for name in sources.loaded}
    if ready is not sources:
        for name, loaded in ready.loaded.items():
            reports[name]["prompts"] = loaded.report.to_dict()
            if processes.rank() == 0 and (loaded.report.dropped or loaded.report.noted):
                _log.info("%s: %s", name, loaded.report)
    processes.first(lambda: write_json(run.folder / "data.json", reports))
    return in_order(config, ready, *plan_rows(config, ready, world))
