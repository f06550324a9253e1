"""Every command is one that its launcher's own parser takes, with the meaning that was meant."""

from __future__ import annotations

import pytest

from rlkit.errors import ConfigError
from rlkit.launching.commands import LAUNCHERS, Nodes, accelerate, deepspeed, torchrun

WORK = ["train", "x.yaml", "rewards.accuracy.weight=0.5"]
TWO = Nodes((8, 8), ("a", "b"), "a", 29501, "hosts", 1)


def test_deepspeed_takes_its_commands() -> None:
    from deepspeed.launcher.runner import parse_args

    alone = parse_args(deepspeed(Nodes((4,)), WORK)[2:])
    assert (alone.num_gpus, alone.module, alone.no_local_rank, alone.master_port) == (4, True, True, 29500)
    assert [alone.user_script, *alone.user_args] == ["rlkit", *WORK]
    by_environment = parse_args(deepspeed(Nodes((4,)), WORK, choose=False)[2:])
    assert by_environment.num_gpus == -1

    by_ssh = parse_args(deepspeed(Nodes((8, 8), ("a", "b"), "a", 29501, "hosts"), WORK)[2:])
    assert (by_ssh.hostfile, by_ssh.master_addr, by_ssh.master_port, by_ssh.num_gpus) == ("hosts", "a", 29501, 8)
    assert (by_ssh.no_ssh, by_ssh.force_multi) == (False, True)
    no_ssh = parse_args(deepspeed(TWO, WORK)[2:])
    assert (no_ssh.no_ssh, no_ssh.node_rank, no_ssh.master_addr) == (True, 1, "a")
    mixed = parse_args(deepspeed(Nodes((8, 4), ("a", "b"), "a", 29501, "hosts"), WORK)[2:])
    assert mixed.num_gpus == -1  # as many as the hostfile says


def test_torchrun_takes_its_commands() -> None:
    from torch.distributed.run import config_from_args, parse_args

    alone = parse_args(torchrun(Nodes((4,)), WORK)[2:])
    assert (alone.standalone, alone.nproc_per_node, alone.module) == (True, "4", True)
    assert [alone.training_script, *alone.training_script_args] == ["rlkit", *WORK]
    args = parse_args(torchrun(Nodes((8, 4), ("a", "b"), "a", 29501, "hosts", 1), WORK)[2:])
    config, _, _ = config_from_args(args)
    assert (config.min_nodes, config.max_nodes, config.nproc_per_node) == (2, 2, 4)
    assert (config.rdzv_backend, config.rdzv_endpoint, config.rdzv_configs["rank"]) == ("static", "a:29501", 1)


def test_accelerate_takes_its_commands() -> None:
    from accelerate.commands.launch import launch_command_parser

    parser = launch_command_parser()
    alone = parser.parse_args(accelerate(Nodes((4,)), WORK)[2:])
    assert (alone.num_processes, alone.num_machines, alone.multi_gpu, alone.module) == (4, 1, True, True)
    assert [alone.training_script, *alone.training_script_args] == ["rlkit", *WORK]
    one = parser.parse_args(accelerate(Nodes((1,)), WORK)[2:])
    assert not one.multi_gpu
    second = parser.parse_args(accelerate(TWO, WORK)[2:])
    assert (second.num_processes, second.num_machines, second.machine_rank) == (16, 2, 1)
    assert (second.main_process_ip, second.main_process_port, second.same_network) == ("a", 29501, True)
    with pytest.raises(ConfigError, match="the hostfile has 8, 4; give --gpus"):
        accelerate(Nodes((8, 4), ("a", "b"), "a", 29501, "hosts", 1), WORK)


def test_words_reach_the_far_shell_whole() -> None:
    """As DeepSpeed hands them to pdsh, whose far shell splits and expands the line."""
    import shlex

    from deepspeed.launcher.multinode_runner import PDSHRunner
    from deepspeed.launcher.runner import encode_world_info, parse_args

    work = [
        "train",
        "x.yaml",
        'a=["q_proj", "k_proj"]',
        'b=["q_proj"]',
        "c={d: [e, f]}",
        "g=it's",
        "h=*",
        "i=x;y",
        "j=a  b",
    ]
    args = parse_args(deepspeed(Nodes((1, 1), ("a", "b"), "a", 29501, "hosts"), work)[2:])
    command, _, _ = PDSHRunner(args, encode_world_info({"a": [0], "b": [0]})).get_cmd({}, {"a": [0], "b": [0]})
    assert shlex.split(" ".join(command))[-len(work) :] == work
    for word in ("a=$HOME", "a=`id`", "a=%h", "a=b\\c"):
        with pytest.raises(ConfigError, match="write it into the config file"):
            deepspeed(Nodes((1, 1), ("a", "b"), "a", 29501, "hosts"), [word])


@pytest.mark.parametrize("launcher", ["torchrun", "accelerate"])
def test_one_node_has_to_know_its_number(launcher: str) -> None:
    with pytest.raises(ConfigError, match="--node-rank: which of the nodes is this one"):
        LAUNCHERS[launcher](Nodes((8, 8), ("a", "b"), "a", 29501), WORK)


def test_deepspeed_wants_a_hostfile() -> None:
    with pytest.raises(ConfigError, match="give --hosts FILE, or --launcher torchrun"):
        deepspeed(Nodes((8, 8), ("", ""), "a", 29501), WORK)
