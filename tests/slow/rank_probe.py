"""`rlkit` as a launcher starts it, and then what this process holds: a digest of plan, order and final weights.

    rank_probe.py train CONFIG     one process of a launcher's
    rank_probe.py --serve          launches from standard input, one JSON object each, and the ranks' exit codes out

A served launch forks its ranks from a process that has imported everything, so that it takes seconds less. With SAME_DRAWS
set, completions do not depend on the number of processes.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

from rlkit import cli
from rlkit.training import common

ends: list[Any] = []
finish = common.finish


def finish_and_keep(trainer: Any, run: Any, facts: Any, *outcome: Any) -> None:
    finish(trainer, run, facts, *outcome)
    rows = trainer.train_dataset
    order = rows["id"] if "id" in rows.column_names else [str(sum(ids)) for ids in rows["input_ids"]]
    ends.append((digest_of_weights(trainer.model), facts, order))


def digest_of_weights(model: Any) -> str:
    import deepspeed

    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            digest.update(name.encode() + parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


def sample_alike() -> None:
    """Let TRL's trainer answer with `same_draws`, through its own `rollout_func`."""
    import trl
    from same_draws import rollout

    class SameDraws(trl.GRPOTrainer):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, rollout_func=rollout, **kwargs)

    trl.GRPOTrainer = SameDraws


def main(arguments: list[str]) -> int:
    common.finish = finish_and_keep
    if os.environ.get("SAME_DRAWS"):
        sample_alike()
    code = cli.main(arguments)
    if code == 0:
        weights, facts, ids = ends[0]
        Path(f"rank{os.environ.get('RANK', '0')}.json").write_text(
            json.dumps({"weights": weights, "facts": facts, "ids": list(ids)})
        )
    return code


def serve() -> None:
    import deepspeed  # noqa: F401
    import peft  # noqa: F401
    from same_draws import rollout  # noqa: F401
    from trl import GRPOTrainer, SFTTrainer  # noqa: F401

    from rlkit.training import grpo, sft  # noqa: F401

    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        running = {forked(request, rank) for rank in range(request["processes"])}
        codes = []
        while running:
            pid, status = os.wait()
            running.discard(pid)
            codes.append(os.waitstatus_to_exitcode(status))
            if codes[-1]:  # the others would wait for it
                for other in running:
                    os.kill(other, signal.SIGKILL)
        print(json.dumps(codes), file=answers)


def forked(request: dict[str, Any], rank: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        os.chdir(request["folder"])
        log = os.open("log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        for descriptor in (1, 2):
            os.dup2(log, descriptor)
        sys.path.insert(0, request["folder"])
        os.environ.update(request["variables"])
        if request["port"]:
            world = {
                "RANK": rank,
                "LOCAL_RANK": rank,
                "WORLD_SIZE": request["processes"],
                "LOCAL_SIZE": request["processes"],
            }
            os.environ.update({name: str(value) for name, value in world.items()})
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(request["port"]))
        code = main(request["arguments"])
    except SystemExit as leaving:
        code = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # without the cleaning up of the process that this one was forked from


if __name__ == "__main__":
    if sys.argv[1:] == ["--serve"]:
        serve()
    else:
        sys.exit(main(sys.argv[1:]))
