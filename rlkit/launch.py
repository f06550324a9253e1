"""`rlkit launch`: start a run's processes with deepspeed, torchrun or accelerate, and see them to one common end.

Checks everything that can be checked before the first process starts. It adds nothing to the launchers' own commands,
which `--dry-run` prints and which work as well without it.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import shutil
import socket
import sys
from dataclasses import replace
from pathlib import Path

import psutil

from rlkit.config import Config, load_config
from rlkit.errors import ConfigError, RlkitError, nearest
from rlkit.launching.commands import LAUNCHERS, Command, Nodes
from rlkit.launching.devices import accelerators, visible_ids
from rlkit.launching.hostfile import Host, read_hostfile
from rlkit.launching.vllm_server import vllm_server

PORT = 29500
MAX_NODES = 10_000
CPU_PROCESS_BYTES = 500_000_000  # what Python's packages take in a process before any model
_PACKAGES = {"deepspeed": "deepspeed", "torchrun": "torch", "accelerate": "accelerate"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a YAML file, see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. train.max_steps=20")
    parser.add_argument("--gpus", type=int, help="processes on each node, one a GPU (default with --hosts: its slots)")
    parser.add_argument("--hosts", type=Path, help="hostfile, `NAME slots=N` a line: several machines")
    parser.add_argument("--nodes", type=int, help="several machines without a hostfile: how many")
    parser.add_argument("--node-rank", type=int, help="start this machine's processes only, without ssh: 0, 1, ...")
    parser.add_argument("--rdzv", help="HOST[:PORT] of node 0, where the machines meet (default: the first of --hosts)")
    parser.add_argument("--launcher", default="deepspeed", help=f"{', '.join(LAUNCHERS)} (default: %(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue an existing run; refuse to start a new one")
    parser.add_argument(
        "--grace",
        type=float,
        default=300.0,
        help="seconds to save and end in after SIGTERM, SIGUSR1 or Ctrl-C (default: %(default)g)",
    )
    parser.add_argument("--vllm-server", action="store_true", help="start the server of train.vllm_mode=server instead")
    parser.add_argument(
        "--dry-run", action="store_true", help="print the command, or that of every node; start nothing"
    )


def main(args: argparse.Namespace) -> int:
    config = load_config(args.config, args.overrides)
    if args.launcher not in LAUNCHERS:
        raise ConfigError(
            f"--launcher {args.launcher}: must be one of {', '.join(LAUNCHERS)}.{nearest(args.launcher, LAUNCHERS)}"
        )
    if not args.grace >= 0 or args.grace == float("inf"):
        raise ConfigError(f"--grace is {args.grace:g}, but must be a number of seconds, at least 0.")
    if args.vllm_server:
        commands = {"": _server(config, args)}
    else:
        nodes = _nodes(args)
        commands = _commands(config, args, nodes)
    if args.dry_run:
        for title, command in commands.items():
            print(f"{title}{command}")
        return 0
    if not args.vllm_server:
        from rlkit.train import preflight

        _can_start(args, nodes)
        preflight(config, nodes.world_size, args.resume)
    (command,) = commands.values()
    _say(str(command))
    from rlkit.launching.supervise import supervise

    return supervise(command.words, {**os.environ, **command.environment}, args.grace, _say)


def _nodes(args: argparse.Namespace) -> Nodes:
    """The machines and processes that the arguments speak of; raises `ConfigError` where they contradict each other."""
    _within("--gpus", args.gpus, 1, 1024)
    _within("--nodes", args.nodes, 1, MAX_NODES)
    hosts = None if args.hosts is None else read_hostfile(args.hosts)
    if hosts is not None:
        if args.nodes is not None:
            raise ConfigError("--nodes: stands beside --hosts, which says itself how many there are; leave it out.")
        names = tuple(host.name for host in hosts)
        processes = tuple(_slots(host, args) for host in hosts)
    else:
        if args.gpus is None:
            raise ConfigError("--gpus: how many processes, one a GPU, shall each node start? E.g. --gpus 8.")
        names = ("",) * (args.nodes or 1)
        processes = (args.gpus,) * (args.nodes or 1)
    if args.node_rank is not None and hosts is None and args.nodes is None:
        raise ConfigError("--node-rank: of how many nodes? Give --nodes N, or --hosts FILE.")
    _within("--node-rank", args.node_rank, 0, len(processes) - 1)
    several = len(processes) > 1 or (hosts is not None and not _is_here(hosts[0].name))
    if args.rdzv is not None and args.nodes is None and hosts is None:
        raise ConfigError("--rdzv: one machine's processes find one another; leave it out, or give --nodes N.")
    if several and args.rdzv is None and hosts is None:
        raise ConfigError("--rdzv: where do the nodes meet? Give HOST:PORT of node 0, the same on every node.")
    address, port = _meeting(args.rdzv) if args.rdzv else (names[0].rpartition("@")[2] or "127.0.0.1", PORT)
    return Nodes(
        processes=processes,
        names=names,
        address=address,
        port=port if several else _free_port(port),
        hostfile=str(args.hosts) if hosts is not None and several else None,
        node_rank=args.node_rank if several else None,
    )


def _commands(config: Config, args: argparse.Namespace, nodes: Nodes) -> dict[str, Command]:
    """What to run, by the comment to print before it: one command, or where nothing will be started that of every node."""
    over_ssh = args.launcher == "deepspeed" and nodes.several and nodes.node_rank is None
    each = args.dry_run and nodes.several and nodes.node_rank is None and (not over_ssh or nodes.hostfile is None)
    work = ["train", args.config, *args.overrides, *(["--resume"] if args.resume else [])]
    for note in _notes(config, nodes):
        _say(note)
    here = [replace(nodes, node_rank=rank) for rank in range(len(nodes.processes))] if each else [nodes]
    found = {}
    for place in here:
        environment, choose = ({}, True) if nodes.several and args.dry_run else _for_this_machine(config, args, place)
        options = {"choose": choose} if args.launcher == "deepspeed" else {}
        words = [sys.executable, *LAUNCHERS[args.launcher](place, work, **options)]
        name = place.names[place.node_rank or 0]
        title = f"# node {place.node_rank}{f', {name}' if name else ''}\n" if each else ""
        found[title] = Command(tuple(words), environment)
    return found


def _for_this_machine(config: Config, args: argparse.Namespace, nodes: Nodes) -> tuple[dict[str, str], bool]:
    """The environment that this machine's processes need, and whether the launcher may choose their devices itself."""
    if nodes.several and nodes.node_rank is None:
        return {}, True  # they start on other machines
    count = nodes.processes[nodes.node_rank or 0]
    there = 0 if config.train.get("use_cpu") else accelerators()
    if there == 0:
        why = "train.use_cpu is set" if config.train.get("use_cpu") else "this machine has no accelerator"
        _say(
            f"{why}: {count} processes on its CPU, joined by gloo (DS_ACCELERATOR=cpu); for trying a run, not for speed"
        )
        memory = psutil.virtual_memory().total
        if not args.dry_run and count * CPU_PROCESS_BYTES > memory:
            raise ConfigError(
                f"--gpus {count}: processes on the CPU take {CPU_PROCESS_BYTES / 1e9:g} GB each before any model, and this machine "
                f"has {memory / 1e9:.0f} GB, so it would stall; 2 to 4 are enough to try a run."
            )
        threads = max(1, (os.cpu_count() or 1) // count)
        return {"DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(threads))}, True
    ids = visible_ids()
    if count > there:
        limit = "" if ids is None else f" (CUDA_VISIBLE_DEVICES={','.join(ids)})"
        raise ConfigError(
            f"--gpus {count}: this machine has {there}{limit}, and two processes cannot share one; use --gpus {there}, or "
            "train.use_cpu=true to try the run on the CPU."
        )
    if args.launcher != "deepspeed" or nodes.several or ids is None:
        return {}, True
    if not all(name.isdigit() for name in ids):
        raise ConfigError(
            f"CUDA_VISIBLE_DEVICES={','.join(ids)}: the deepspeed launcher knows numbers only and would take other GPUs; use "
            "--launcher torchrun."
        )
    # With --num_gpus DeepSpeed would forget the variable and take the first GPUs of the machine, perhaps another user's.
    return {"CUDA_VISIBLE_DEVICES": ",".join(ids[:count])}, False


def _server(config: Config, args: argparse.Namespace) -> Command:
    for name in ("hosts", "nodes", "node_rank", "rdzv", "resume"):
        if getattr(args, name):
            raise ConfigError(f"--{name.replace('_', '-')}: the vLLM server runs on this machine alone; leave it out.")
    _within("--gpus", args.gpus, 1, 1024)
    words, environment = vllm_server(config, args.gpus or 1)
    if not args.dry_run and importlib.util.find_spec("vllm") is None:
        raise RlkitError("--vllm-server: vllm is not installed here; pip install 'grounded-rl[vllm]'.")
    return Command((sys.executable, *words), environment)


def _can_start(args: argparse.Namespace, nodes: Nodes) -> None:
    """Refuse what the launcher would find out only later, or never say clearly."""
    if importlib.util.find_spec(_PACKAGES[args.launcher]) is None:
        raise RlkitError(
            f"--launcher {args.launcher}: {_PACKAGES[args.launcher]} is not installed here; pip install it."
        )
    if args.launcher == "deepspeed" and nodes.several and nodes.node_rank is None:
        for program in ("pdsh", "ssh"):
            if shutil.which(program) is None:
                raise RlkitError(
                    f"--hosts: deepspeed reaches the machines with pdsh over ssh, but {program} is not installed here; install "
                    "it, or start the command on every machine with its --node-rank, which needs neither."
                )


def _notes(config: Config, nodes: Nodes) -> list[str]:
    """What is allowed, but seldom meant."""
    notes = []
    if nodes.world_size > 1 and not config.train.get("deepspeed"):
        notes.append(
            "train.deepspeed is not set: every process holds the whole model (plain data parallelism); split it with "
            "train.deepspeed=configs/deepspeed/zero2.json or zero3.json"
        )
    if config.method == "grpo" and config.setting("use_vllm") and config.setting("vllm_mode") == "server":
        local = config.setting("vllm_server_base_url") is None and config.setting("vllm_server_host") == "0.0.0.0"
        where = "this is looked for on the first node itself; name another with train.vllm_server_host" if local else ""
        notes.append(
            f"train.vllm_mode=server: start it first, `rlkit launch CONFIG --vllm-server --gpus N`{'; ' if where else ''}{where}"
        )
    return notes


def _slots(host: Host, args: argparse.Namespace) -> int:
    if args.gpus is not None and args.gpus > host.slots:
        raise ConfigError(
            f"{args.hosts}:{host.line}: {host.name} has slots={host.slots}, but --gpus asks for {args.gpus} on every machine; "
            f"use at most --gpus {host.slots}, or leave it out to use all slots."
        )
    return host.slots if args.gpus is None else args.gpus


def _is_here(name: str) -> bool:
    """Whether a hostfile's only machine is this one, which needs no ssh."""
    return name in ("localhost", "127.0.0.1", socket.gethostname())


def _meeting(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(PORT)
    if not host or ":" in host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ConfigError(f"--rdzv {text}: must be HOST or HOST:PORT, e.g. node-a:{PORT}.")
    return host, int(port)


def _free_port(wanted: int) -> int:
    """`wanted`, or where another run has it already any free one."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise RlkitError("no free port on 127.0.0.1 for the processes to meet at.")


def _within(name: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise ConfigError(f"{name} is {value}, but must be from {low} to {high:,}.")


def _say(text: str) -> None:
    print(f"launch: {text}", file=sys.stderr, flush=True)
