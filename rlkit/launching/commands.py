"""The commands that start a run's processes with deepspeed, torchrun or accelerate.

Each launcher's own flags stand here and nowhere else. Starts nothing and looks at no machine.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from rlkit.errors import ConfigError

# pdsh puts its own words in the place of %h, %u and %n; DeepSpeed quotes what holds a space in double quotes, in which
# the far shell still reads the other three.
_READ_BY_THE_FAR_SHELL = "%$`\\"


@dataclass(frozen=True)
class Nodes:
    """Where a run's processes are: how many on each node, and where the nodes find one another.

    `hostfile` names the nodes in a file; `node_rank` is the node for which a command is meant, None for one command
    that reaches all of them.
    """

    processes: tuple[int, ...]
    names: tuple[str, ...] = ("localhost",)
    address: str = "127.0.0.1"
    port: int = 29500
    hostfile: str | None = None
    node_rank: int | None = None

    @property
    def world_size(self) -> int:
        return sum(self.processes)

    @property
    def several(self) -> bool:
        """Whether the processes have to meet over a network; a hostfile of one machine still means that machine."""
        return self.hostfile is not None or len(self.processes) > 1


@dataclass(frozen=True)
class Command:
    """The words of a command, and what it needs in its environment beside what is there."""

    words: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        """The line to copy into a shell.

        >>> str(Command(("rlkit", "train", "x.yaml", "a={b: c}"), {"DS_ACCELERATOR": "cpu"}))
        "DS_ACCELERATOR=cpu rlkit train x.yaml 'a={b: c}'"
        """
        return " ".join([*(f"{k}={shlex.quote(v)}" for k, v in self.environment.items()), shlex.join(self.words)])


def deepspeed(nodes: Nodes, work: Sequence[str], *, choose: bool = True) -> list[str]:
    """`-m deepspeed.launcher.runner` and its flags; with a hostfile it reaches the nodes by ssh, unless `node_rank` is set.

    `choose=False` leaves the choice of devices to CUDA_VISIBLE_DEVICES, which `--num_gpus` would make it ignore.

    >>> " ".join(deepspeed(Nodes((8,)), ["train", "x.yaml"]))
    '-m deepspeed.launcher.runner --num_gpus 8 --master_port 29500 --no_local_rank --module rlkit train x.yaml'
    """
    words = ["-m", "deepspeed.launcher.runner"]
    if nodes.several:
        if nodes.hostfile is None:
            raise ConfigError(
                "--nodes: the deepspeed launcher learns of nodes from a hostfile only; give --hosts FILE, or --launcher "
                "torchrun."
            )
        words += ["--hostfile", nodes.hostfile, "--master_addr", nodes.address]
        if nodes.node_rank is not None:
            words += ["--no_ssh", "--node_rank", str(nodes.node_rank)]
        else:
            words += ["--force_multi"]
            work = [_for_the_far_shell(word) for word in work]
    if choose and len(set(nodes.processes)) == 1:
        words += ["--num_gpus", str(nodes.processes[0])]
    return [*words, "--master_port", str(nodes.port), "--no_local_rank", "--module", "rlkit", *work]


def torchrun(nodes: Nodes, work: Sequence[str]) -> list[str]:
    """`-m torch.distributed.run` and its flags; one command a node, whose numbers stay the same in every start.

    >>> " ".join(torchrun(Nodes((8,)), ["train", "x.yaml"]))
    '-m torch.distributed.run --standalone --nproc-per-node 8 -m rlkit train x.yaml'
    """
    if not nodes.several:
        meeting = ["--standalone"]
    else:
        meeting = [
            "--nnodes", str(len(nodes.processes)), "--node-rank", str(_node(nodes)),
            "--rdzv-backend", "static", "--rdzv-endpoint", f"{nodes.address}:{nodes.port}",
        ]  # fmt: skip
    here = nodes.processes[nodes.node_rank or 0]
    return ["-m", "torch.distributed.run", *meeting, "--nproc-per-node", str(here), "-m", "rlkit", *work]


def accelerate(nodes: Nodes, work: Sequence[str]) -> list[str]:
    """`-m accelerate.commands.launch` and its flags; DeepSpeed comes from `train.deepspeed`, as with the other launchers.

    `--multi_gpu` on a CPU as well: with accelerate's `--cpu` one process is started, however many are asked for.
    """
    if len(set(nodes.processes)) > 1:
        raise ConfigError(
            "--launcher accelerate: starts the same number of processes on every node, but the hostfile has "
            f"{', '.join(map(str, nodes.processes))}; give --gpus, or --launcher torchrun."
        )
    words = ["-m", "accelerate.commands.launch", "--num_processes", str(nodes.world_size)]
    words += ["--num_machines", str(len(nodes.processes))]
    if nodes.several:
        words += ["--machine_rank", str(_node(nodes)), "--main_process_ip", nodes.address, "--same_network"]
    words += ["--main_process_port", str(nodes.port)]
    if nodes.world_size > 1:
        words += ["--multi_gpu"]
    return [*words, "--mixed_precision", "no", "--dynamo_backend", "no", "-m", "rlkit", *work]


LAUNCHERS: dict[str, Callable[..., list[str]]] = {
    "deepspeed": deepspeed,
    "torchrun": torchrun,
    "accelerate": accelerate,
}


def _node(nodes: Nodes) -> int:
    if nodes.node_rank is None:
        raise ConfigError(
            "--node-rank: which of the nodes is this one? This launcher starts the processes of one node: run the "
            "command on every node with its own number; --dry-run prints them all."
        )
    return nodes.node_rank


def _for_the_far_shell(word: str) -> str:
    """A word as it has to be given to DeepSpeed, so that the shell at the other end of ssh sees it whole."""
    if any(letter in word for letter in _READ_BY_THE_FAR_SHELL):
        raise ConfigError(
            f"{word!r:.80}: holds one of {' '.join(_READ_BY_THE_FAR_SHELL)}, which pdsh or the shell at the other end of "
            "ssh would replace; write it into the config file."
        )
    return word if " " in word else shlex.quote(word)
