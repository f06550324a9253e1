"""`rlkit` as a launcher starts it, and then what this process holds: a digest of plan, order and final weights."""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from rlkit import cli
from rlkit.training import common

ends: list[Any] = []
finish = common.finish


def finish_and_keep(trainer: Any, run: Any, facts: Any, *outcome: Any) -> None:
    finish(trainer, run, facts, *outcome)
    ends.append((digest_of_weights(trainer.model), facts, trainer.train_dataset["id"]))


def digest_of_weights(model: Any) -> str:
    import deepspeed

    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        with deepspeed.zero.GatheredParameters([parameter], enabled=hasattr(parameter, "ds_id")):
            digest.update(name.encode() + parameter.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()


if __name__ == "__main__":
    common.finish = finish_and_keep
    code = cli.main(sys.argv[1:])
    if code == 0:
        weights, facts, ids = ends[0]
        Path(f"rank{os.environ['RANK']}.json").write_text(
            json.dumps({"weights": weights, "facts": facts, "ids": list(ids)})
        )
    sys.exit(code)
