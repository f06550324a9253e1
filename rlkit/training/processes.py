"""The processes of a run: who they are, and how the first one speaks for all.

Works the same alone, under torchrun and under the deepspeed launcher. Knows nothing of models or data.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

from rewards.errors import RewardError
from rlkit.config import Config
from rlkit.errors import RlkitError

T = TypeVar("T")
ALIKE_SECONDS = 30.0  # a launcher ends the other processes within a second or two of the first one's error


class FailedElsewhere(SystemExit):
    """Another process has reported the error; this one only leaves, with the same exit code."""


def world_size() -> int:
    """How many processes the launcher has started; 1 without a launcher."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """This process's number; 0 without a launcher."""
    return int(os.environ.get("RANK", "0"))


def on_cpu(config: Config) -> bool:
    """Whether the run uses no accelerator: the config says so, or there is none."""
    import torch

    return bool(config.train.get("use_cpu")) or not torch.accelerator.is_available()


def join(config: Config) -> None:
    """Make the process group before any model exists.

    ZeRO-3 splits weights while a model is created; without the group it takes every process for the only one and
    later fails with "train_batch_size is not equal to ...". The group waits for `train.ddp_timeout` seconds, as TRL
    would have it; a group that exists already keeps its own timeout. Raises `RlkitError` where not all processes come.
    """
    import torch.distributed

    patience = timedelta(seconds=config.setting("ddp_timeout"))
    try:
        _make_group(config, patience)
    except torch.distributed.DistStoreError as error:
        raise RlkitError(
            f"not all {world_size()} processes have come within the {patience.total_seconds():g} s of train.ddp_timeout; what "
            f"the others have printed says why. ({str(error).splitlines()[0]})"
        ) from error


def _make_group(config: Config, patience: timedelta) -> None:
    import torch.distributed

    if config.train.get("deepspeed"):
        if on_cpu(config):
            os.environ.setdefault("DS_ACCELERATOR", "cpu")
        import deepspeed

        from rlkit.training.build_locks import build_folders, free_abandoned

        if "RANK" not in os.environ:  # no launcher: a group of one
            port = _free_port()
            alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
            os.environ.update(alone)
        free_abandoned(build_folders())
        deepspeed.init_distributed(verbose=False, timeout=patience)
        _forget_buffer()
    elif world_size() > 1 and not torch.distributed.is_initialized():
        torch.distributed.init_process_group(backend="gloo" if on_cpu(config) else None, timeout=patience)


def _forget_buffer() -> None:
    """Take away the name of the shared memory that DeepSpeed's processes on a CPU speak through, once all have opened it.

    DeepSpeed never does, so that every run, killed or not, would leave 66 MB a process until the machine restarts. The
    memory itself stays until the last process ends.
    """
    import torch.distributed

    where = "_".join(str(part) for part in (os.getuid(), os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"], rank()))
    buffer = Path("/dev/shm") / f"deepspeed_allreduce_buffer_{where}"
    if buffer.exists():
        torch.distributed.barrier()  # on one machine all processes have one, or none has
        buffer.unlink(missing_ok=True)


def leave() -> None:
    """Close the process group, so that no process ends with a warning."""
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def first(work: Callable[[], T]) -> T:
    """Do `work` on the first process and hand its result to all; its error ends all of them."""
    if world_size() == 1:
        return work()
    import torch.distributed

    box: list[tuple[bool, T | str] | None] = [None]
    error: RlkitError | None = None
    if rank() == 0:
        try:
            box[0] = (True, work())
        except RlkitError as problem:
            error = problem
            box[0] = (False, str(problem))
    torch.distributed.broadcast_object_list(box, src=0)
    if error is not None:
        raise error
    good, value = box[0]  # type: ignore[misc]
    if not good:
        raise FailedElsewhere(2)
    return value  # type: ignore[return-value]


def same(work: Callable[[], T]) -> T:
    """Do `work` on every process, before there is a group; an error that all find alike is reported by the first.

    One that only another process finds, on a node that lacks a file, is reported by that one, a few seconds later.
    """
    try:
        return work()
    except (RlkitError, RewardError):
        if rank() == 0:
            raise
        time.sleep(ALIKE_SECONDS)  # the launcher ends this process meanwhile, if the first one has found the same
        raise


def agree(name: str, value: str, consequence: str = "they would train on different rows") -> None:
    """Stop unless every process holds the same `value`."""
    if world_size() == 1:
        return
    import torch.distributed

    values: list[str | None] = [None] * world_size()
    torch.distributed.all_gather_object(values, value)
    if len(set(values)) > 1:
        raise RlkitError(
            f"{name} differs between the processes ({', '.join(map(str, values))}), so {consequence}; "
            "make sure that every node sees the same files and the same software."
        )


def _free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])
