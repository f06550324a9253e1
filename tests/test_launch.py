"""`rlkit launch` refuses before a process starts, and prints what it would run."""

from __future__ import annotations

import shlex
import socket
import sys
from itertools import pairwise
from pathlib import Path

import psutil
import pytest

from rlkit import cli, launch

CONFIG = "configs/care/qwen2.5-7b.yaml"
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with 8 GPUs and nothing set."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(launch, "accelerators", lambda: 8)
    for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)


def dry(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[list[list[str]], str]:
    """The words of every line that --dry-run prints, and what it says beside."""
    assert cli.main(["launch", CONFIG, *arguments, "--dry-run"]) == 0
    said = capsys.readouterr()
    return [shlex.split(line) for line in said.out.splitlines()], said.err


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main(["launch", *arguments]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    return said.err.splitlines()[-1]


def test_the_command_is_the_plain_one(capsys: pytest.CaptureFixture[str]) -> None:
    (words,), said = dry(capsys, "train.max_steps=4", "--gpus", "8")
    assert words[:3] == [sys.executable, "-m", "deepspeed.launcher.runner"]
    assert words[words.index("--num_gpus") + 1] == "8"
    assert words[-5:] == ["--module", "rlkit", "train", CONFIG, "train.max_steps=4"]
    assert said == ""
    (words,), _ = dry(capsys, "--gpus", "8", "--launcher", "torchrun", "--resume")
    assert words[1:] == shlex.split(
        f"-m torch.distributed.run --standalone --nproc-per-node 8 -m rlkit train {CONFIG} --resume"
    )


def test_without_an_accelerator_it_says_that_it_takes_the_cpu(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (words,), said = dry(capsys, "train.use_cpu=true", "--gpus", "2")
    assert words[0] == "DS_ACCELERATOR=cpu"
    assert words[1].startswith("OMP_NUM_THREADS=")
    assert "train.use_cpu is set: 2 processes on its CPU" in said
    monkeypatch.setattr(launch, "accelerators", lambda: 0)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    (words,), said = dry(capsys, "--gpus", "16")
    assert words[:2] == ["DS_ACCELERATOR=cpu", "OMP_NUM_THREADS=3"]
    assert "this machine has no accelerator: 16 processes on its CPU, joined by gloo" in said


def test_no_more_processes_than_gpus(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert "--gpus 9: this machine has 8, and two processes cannot share one; use --gpus 8" in refused(
        capsys, CONFIG, "--gpus", "9", "--dry-run"
    )
    monkeypatch.setattr(launch, "accelerators", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert "this machine has 2 (CUDA_VISIBLE_DEVICES=4,5)" in refused(capsys, CONFIG, "--gpus", "3")


def test_no_more_processes_on_a_cpu_than_its_memory_holds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "CPU_PROCESS_BYTES", psutil.virtual_memory().total // 4)
    said = refused(capsys, CONFIG, "train.use_cpu=true", "--gpus", "5")
    assert "--gpus 5: processes on the CPU take" in said
    assert "2 to 4 are enough" in said
    assert dry(capsys, "train.use_cpu=true", "--gpus", "5")  # may be meant for another machine


def test_the_chosen_gpus_are_kept(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With --num_gpus, DeepSpeed forgets CUDA_VISIBLE_DEVICES and takes the first GPUs of the machine."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4, 5,6")
    (words,), _ = dry(capsys, "--gpus", "2")
    assert words[0] == "CUDA_VISIBLE_DEVICES=4,5"
    assert "--num_gpus" not in words
    (words,), _ = dry(capsys, "--gpus", "2", "--launcher", "torchrun")
    assert words[0] == sys.executable
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-8932f937,GPU-1d2a")
    assert "knows numbers only and would take other GPUs; use --launcher torchrun" in refused(
        capsys, CONFIG, "--gpus", "2"
    )


def test_a_hostfile(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("me@node-a slots=8\nnode-b slots=4\n")
    (words,), _ = dry(capsys, "--hosts", str(hosts))
    assert words[words.index("--hostfile") + 1] == str(hosts)
    assert words[words.index("--master_addr") + 1] == "node-a"
    assert "--num_gpus" not in words
    printed, _ = dry(capsys, "--hosts", str(hosts), "--launcher", "torchrun")
    assert printed[0] == ["#", "node", "0,", "me@node-a"]
    assert printed[2] == ["#", "node", "1,", "node-b"]
    for rank, words, count in ((0, printed[1], "8"), (1, printed[3], "4")):
        assert words[words.index("--node-rank") + 1] == str(rank)
        assert words[words.index("--nproc-per-node") + 1] == count
        assert words[words.index("--rdzv-endpoint") + 1] == "node-a:29500"
    (words,), _ = dry(capsys, "--hosts", str(hosts), "--launcher", "torchrun", "--node-rank", "1")
    assert words == printed[3]

    said = refused(capsys, CONFIG, "--hosts", str(hosts), "--gpus", "8")
    assert f"{hosts}:2: node-b has slots=4, but --gpus asks for 8" in said
    hosts.write_text("node-a slots=8\nnode-b slot=8\n")
    assert f"error: {hosts}:2: 'slot=8' is not slots=N" in refused(capsys, CONFIG, "--hosts", str(hosts))


@pytest.mark.parametrize("name", ["localhost", socket.gethostname()])
def test_a_hostfile_of_this_machine_alone(name: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(f"{name} slots=4\n")
    (words,), _ = dry(capsys, "--hosts", str(tmp_path / "hosts"))
    assert words[words.index("--num_gpus") + 1] == "4"
    assert "--hostfile" not in words
    (tmp_path / "hosts").write_text("node-a slots=4\n")
    (words,), _ = dry(capsys, "--hosts", str(tmp_path / "hosts"))
    assert "--force_multi" in words


def test_nodes_without_a_hostfile(capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--gpus", "8", "--nodes", "2", "--rdzv", "node-a:29512", "--launcher")
    printed, _ = dry(capsys, *options, "torchrun")
    assert [words[2] for words in printed[::2]] == ["0", "1"]
    assert all("node-a:29512" in words for words in printed[1::2])
    printed, _ = dry(capsys, *options, "accelerate")
    assert all(words[words.index("--num_processes") + 1] == "16" for words in printed[1::2])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.yaml", "--gpus", "2"], "missing.yaml: there is no such config file"),
        ([CONFIG, "train.max_step=3", "--gpus", "2"], "Did you mean 'max_steps'?"),
        ([CONFIG], "--gpus: how many processes"),
        ([CONFIG, "--gpus", "0"], "--gpus is 0, but must be from 1"),
        ([CONFIG, "--gpus", "2", "--launcher", "torchrum"], "Did you mean 'torchrun'?"),
        ([CONFIG, "--gpus", "2", "--grace", "-1"], "--grace is -1"),
        ([CONFIG, "--gpus", "2", "--grace", "nan"], "--grace is nan"),
        ([CONFIG, "--gpus", "2", "--node-rank", "1"], "--node-rank: of how many nodes?"),
        ([CONFIG, "--gpus", "2", "--nodes", "2", "--rdzv", "a", "--node-rank", "2"], "--node-rank is 2, but must be from 0 to 1"),
        ([CONFIG, "--gpus", "2", "--nodes", "2"], "--rdzv: where do the nodes meet?"),
        ([CONFIG, "--gpus", "2", "--rdzv", "a"], "--rdzv: one machine's processes find one another"),
        ([CONFIG, "--gpus", "2", "--nodes", "2", "--rdzv", "a:b"], "--rdzv a:b: must be HOST or HOST:PORT"),
        ([CONFIG, "--gpus", "2", "--nodes", "2", "--rdzv", "a:70000"], "must be HOST or HOST:PORT"),
        ([CONFIG, "--gpus", "2", "--nodes", "2", "--rdzv", "a"], "give --hosts FILE, or --launcher torchrun"),
        ([CONFIG, "--gpus", "2", "--nodes", "2", "--rdzv", "a", "--launcher", "torchrun"], "--node-rank: which of the nodes"),
        ([CONFIG, "--hosts", "no_such_file"], "--hosts: there is no file 'no_such_file'"),
    ],
)  # fmt: skip
def test_contradictions_are_refused(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(capsys, *arguments)


def test_what_the_run_itself_would_refuse(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Data, batches and packages are looked at before a process starts, for as many processes as there will be."""
    quick = "configs/quickstart/grpo.yaml"
    folder = (f"train.output_dir={tmp_path / 'run'}", "model.model_name_or_path=owner/name")
    assert "does not divide" in refused(capsys, quick, *folder, "train.num_generations=7", "--gpus", "3")
    assert "Did you mean 'easy'?" in refused(capsys, quick, *folder, "sources.easy.level=esy", "--gpus", "2")
    assert "Did you mean 'token_f1'?" in refused(capsys, quick, *folder, "rewards.accuracy.use=token_f2", "--gpus", "2")
    missing = refused(capsys, quick, folder[0], "model.model_name_or_path=runs/an/earlier/model", "--gpus", "2")
    assert "'runs/an/earlier/model' is no folder" in missing


def test_pdsh_is_needed_for_ssh(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hosts").write_text("node-a slots=1\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    said = refused(capsys, CONFIG, "--hosts", str(tmp_path / "hosts"))
    assert "pdsh is not installed here; install it, or start the command on every machine with its --node-rank" in said


def test_two_launches_on_one_machine_do_not_meet(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", launch.PORT))
        except OSError:
            pass  # somebody else's run has it, which does as well
        else:
            other.listen()
        (words,), _ = dry(capsys, "--gpus", "2")
    assert words[words.index("--master_port") + 1] != str(launch.PORT)


SERVER = ("train.vllm_mode=server", "train.vllm_server_host=node-a", "train.vllm_max_model_length=4096")


def test_the_server_is_the_one_that_trl_looks_for(capsys: pytest.CaptureFixture[str]) -> None:
    from trl.scripts.vllm_serve import ScriptArguments, build_command

    (words,), _ = dry(capsys, *SERVER, "--vllm-server", "--gpus", "4")
    assert words[:2] == ["VLLM_SERVER_DEV_MODE=1", sys.executable]
    theirs = build_command(
        ScriptArguments("Qwen/Qwen2.5-7B-Instruct", tensor_parallel_size=4, dtype="bfloat16", max_model_len=4096)
    )
    ours = options(words[words.index("serve") :])
    # What TRL names besides are vLLM's defaults, or a value of its own for the share of memory.
    assert {name: value for name, value in options(theirs[4:]).items() if name in ours} == ours
    assert options(theirs[4:]).keys() - ours.keys() == {
        "--data-parallel-size", "--gpu-memory-utilization", "--kv-cache-dtype", "--model-impl", "--uvicorn-log-level",
    }  # fmt: skip
    url = "train.vllm_server_base_url=http://node-a:8123"
    (words,), said = dry(capsys, *SERVER, url, "--vllm-server")
    assert options(words)["--port"] == "8123"
    assert options(words)["--tensor-parallel-size"] == "1"
    _, said = dry(capsys, *SERVER, "--gpus", "8")
    assert "start it first, `rlkit launch CONFIG --vllm-server --gpus N`" in said
    assert "first node itself" not in said
    _, said = dry(capsys, SERVER[0], "--gpus", "8")
    assert "looked for on the first node itself; name another with train.vllm_server_host" in said


def options(words: list[str]) -> dict[str, str]:
    return {name: value for name, value in pairwise(words) if name.startswith("--")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([CONFIG], "the config generates without a server; set train.use_vllm=true train.vllm_mode=server"),
        ([CONFIG, *SERVER, "--nodes", "2"], "--nodes: the vLLM server runs on this machine alone"),
        ([CONFIG, *SERVER, "train.vllm_server_base_url=http://a:b"], "'http://a:b' is no address"),
        (["configs/quickstart/hotpotqa_musique.yaml", "train.use_vllm=true", *SERVER], "none to serve yet"),
        ([CONFIG, *SERVER], "vllm is not installed here"),
    ],
)
def test_a_server_that_cannot_be(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert said in refused(capsys, *arguments, "--vllm-server")
