"""The commands of an ablation, and what runs them: each once its inputs are there, several at a time.

A job is a command that one can also type. It is done when its note says so: written after the command ended well, with
everything that decided the result. Another note says of a job that failed how it did, until it is tried again. Knows
processes and folders; knows no figure.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import yaml

from rlkit.ablation.inputs import OUR_CODE, digest, missing_files, named_files
from rlkit.ablation.settings import Ablation, Stage
from rlkit.config import differences
from rlkit.errors import DataError, RunError
from rlkit.evaluation.suite import suite_names
from rlkit.plain import plain
from rlkit.runs import environment, write_json

Outcome = Literal["done", "kept", "failed", "not run"]
STOPPED = "stopped by alarm"
SECONDS_TO_STOP = 20.0  # a training that is told to stop may write a checkpoint first


@dataclass(frozen=True)
class Job:
    """`command` makes what `note` stands beside; `settings` is what decides its result, with the digests of the jobs that it
    is `made_from` and of the `files` that its settings name.

    `run` is the folder of a training, whose own last file says as well that it is done.
    """

    name: str
    command: tuple[str, ...]
    needs: tuple[str, ...]
    note: Path
    settings: Mapping[str, Any]
    run: Path | None = None
    made_from: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def decided_by(self) -> str:
        """A digest of everything that decides the result."""
        told = json.dumps(plain([self.settings, self.made_from, self.files]), sort_keys=True, default=str)
        return hashlib.sha256(told.encode()).hexdigest()[:16]

    @property
    def log(self) -> Path:
        return self.note.with_suffix(".log")

    @property
    def failure(self) -> Path:
        return failure_of(self.note)

    def is_done(self) -> bool:
        """Whether it ran before; raises `RunError` where it ran with other settings, or from something else."""
        changed = self.stale()
        if changed:
            lines = "\n  ".join(changed)
            raise RunError(
                f"{self.note}: was made with other settings and is not mixed with new ones. What differs:\n  {lines}\n"
                f"Set these back, choose another output_dir, or remove what is old to have it made again: rm -r {self.note} {self.made}"
            )
        return self.note.is_file()

    @property
    def made(self) -> Path:
        """The folder beside the note."""
        return self.note.with_name(self.note.name.removesuffix(".done.json"))

    def stale(self) -> list[str]:
        """What differs between that of which the note tells and what is asked for now."""
        if not self.note.is_file():
            return []
        note = _read(self.note)
        changed = differences(note["settings"], json.loads(json.dumps(self.settings, default=str)))
        for key, now in (("made_from", self.made_from), ("files", self.files)):
            before = note.get(key, {})  # a file that is gone, as after a move to another machine, changes nothing
            changed += [f"{name}: is another one now" for name in now if before.get(name, now[name]) != now[name]]
        return changed

    def noted(self, seconds: float, made_with: Mapping[str, Any]) -> dict[str, Any]:
        """What the note of this job holds."""
        told = {"command": list(self.command), "seconds": round(seconds, 1), "made_with": made_with}
        return {**told, "settings": self.settings, "made_from": self.made_from, "files": self.files}


def failure_of(note: Path) -> Path:
    """What is written in a note's place where the job failed."""
    return note.with_name(note.name.replace(".done.json", ".failed.json"))


def note_ended(job: Job, made_with: Mapping[str, Any]) -> None:
    """Write the note of a training that ended after nobody was left to write it: `rlkit ablate` itself was killed."""
    if job.run is None or job.note.is_file() or not (job.run / "done.json").is_file():
        return
    config = yaml.safe_load((job.run / "config.yaml").read_text(encoding="utf-8"))
    if differences(config, job.settings):
        return
    told = _read(job.run / "done.json")
    if "stopped" not in told:
        write_json(job.note, job.noted(told["seconds"], made_with))
    else:  # such a run is whole and never trained further
        noted = job.noted(told["seconds"], made_with)
        write_json(job.failure, {**noted, "exit_code": 1, "words": f"{STOPPED} {told['stopped']}"})


def jobs_of(ablation: Ablation, only: Sequence[str] = ()) -> list[Job]:
    """Everything that has to be made for all seeds, inputs first; `only` names the variants that are wanted."""
    wanted = {*(only or ablation.variants), *ablation.before}
    made, digests = list[Job](), dict[str, str]()
    for seed in ablation.seeds:
        for stage in ablation.stages.values():
            if stage.name not in wanted:
                continue
            for job in (
                _making(ablation, seed, stage),
                *([_evaluating(ablation, seed, stage)] if stage.has_model else []),
            ):
                inputs = {name: digests[name] for name in job.needs}
                named = named_files(job.settings, ablation.output_dir)
                made.append(replace(job, made_from=inputs, files=named))
                digests[job.name] = made[-1].decided_by
    return made


def seeds_there(ablation: Ablation) -> list[int]:
    """The seeds for which the output folder holds anything that was made."""
    numbers = [path.parent.name.removeprefix("seed") for path in ablation.output_dir.glob("seed*/*.done.json")]
    return sorted({int(number) for number in numbers if number.isdecimal()})


def done_jobs(jobs: Sequence[Job]) -> set[str]:
    """Which of them ran before. Raises `RunError` where any was made of something else, naming all that are old."""
    stale = [job for job in jobs if job.stale()]
    if len(stale) > 1:
        old = " ".join(f"{job.note} {job.made}" for job in stale)
        try:
            stale[0].is_done()
        except RunError as error:
            raise RunError(f"{error}\nIn all {len(stale)} are old: rm -r {old}") from None
    return {job.name for job in jobs if job.is_done()}


def check_files(jobs: Sequence[Job], output_dir: Path) -> None:
    """Raise `DataError` for files that jobs name and that are not there, before the first one takes its hours."""
    lacking = {path: job.name for job in reversed(jobs) for path in missing_files(job.settings, output_dir)}
    if lacking:
        told = ", ".join(f"{path} ({name})" for path, name in sorted(lacking.items()))
        raise DataError(f"there is no such file: {told}; nothing was started. Put it there, or take another path.")


def _making(ablation: Ablation, seed: int, stage: Stage) -> Job:
    folder, python = ablation.folder(seed, stage.name), (sys.executable, "-m")
    number = ablation.training_seed(seed, stage.name)
    settings: dict[str, Any]
    if stage.world is not None:
        command = [*python, "rlkit.ablation.world_model", "--task", stage.world, "--seed", str(number)]
        command += [] if stage.steps is None else ["--steps", str(stage.steps)]
        command += ["--out", str(folder)]
        settings = {"world": stage.world, "steps": stage.steps, "seed": number}
        if stage.hidden_size is not None:
            command += ["--hidden-size", str(stage.hidden_size)]
            settings["hidden_size"] = stage.hidden_size
    elif stage.sample is not None:
        command = [*python, "rlkit.ablation.rejection", stage.sample, *ablation.overrides(seed, stage.name)]
        command += ["--out", str(folder)]
        settings = ablation.config(seed, stage.name).to_dict()
    else:
        assert stage.config is not None
        command = [*python, "rlkit", "train", stage.config, *ablation.overrides(seed, stage.name)]
        settings = ablation.config(seed, stage.name).to_dict()
    needs = tuple(f"seed{seed}/{name}" for name in stage.needs)
    note = folder.with_name(f"{stage.name}.done.json")
    run = None if stage.config is None else folder
    return Job(f"seed{seed}/{stage.name}", tuple(command), needs, note, plain(settings), run)


def _evaluating(ablation: Ablation, seed: int, stage: Stage) -> Job:
    settings, suites = ablation.evaluation(seed)
    asked = [ablation.evaluate] if ablation.evaluate not in suite_names() else ["--suite", ablation.evaluate]
    asked += ablation.questions(seed)
    out = evaluation_folder(ablation, seed, stage.name)
    command = [sys.executable, "-m", "rlkit", "evaluate", *asked, "--model", str(ablation.model(seed, stage.name))]
    decided = {"model": plain(settings.model), "suites": {suite.name: plain(suite) for suite in suites}}
    name = f"seed{seed}/{stage.name}"
    return Job(
        f"{name} evaluated", (*command, "--out", str(out)), (name,), out.with_name(f"{out.name}.done.json"), decided
    )


def evaluation_folder(ablation: Ablation, seed: int, stage: str) -> Path:
    """Where a model's evaluation lies: beside its folder, which is a run's own."""
    return ablation.folder(seed, stage).with_name(f"{stage}.evaluation")


def run_jobs(
    jobs: Sequence[Job], places: Sequence[Mapping[str, str]], on_event: Callable[[Job, Outcome, float, str], None]
) -> dict[str, Outcome]:
    """Run what is not there yet, one job a place at a time (`places` are environment variables); how each ended.

    A job that fails keeps back those that need it, and no others. `on_event` is told of each end: the job, how, after how
    many seconds, and the last lines of what a failed one said. All processes are stopped when this one is interrupted.
    """
    made_with = _made_with()
    for job in jobs:
        note_ended(job, made_with)
    kept = done_jobs(jobs)  # first of all, so that a contradiction costs nothing
    stopped = {job.name: words for job in jobs if (words := _stopped(job))}
    ended: dict[str, Outcome] = {}
    free: SimpleQueue[Mapping[str, str]] = SimpleQueue()
    for place in places:
        free.put(place)
    running: dict[Future[int], tuple[Job, float, Mapping[str, str]]] = {}
    waiting = list(jobs)
    with ThreadPoolExecutor(len(places)) as threads, _Processes() as processes:  # left in this order: no thread waits
        while waiting or running:
            for job in list(waiting):
                broken = [name for name in job.needs if ended.get(name) in ("failed", "not run")]
                if job.name in stopped:
                    ended[job.name] = "failed"
                    waiting.remove(job)
                    on_event(job, "failed", 0.0, stopped[job.name])
                elif job.name in kept or broken:
                    ended[job.name] = "not run" if broken and job.name not in kept else "kept"
                    waiting.remove(job)
                    on_event(job, ended[job.name], 0.0, f"needs {broken[0]}" if broken else "")
                elif all(ended.get(name) in ("done", "kept") for name in job.needs) and not free.empty():
                    place = free.get()
                    waiting.remove(job)
                    job.failure.unlink(missing_ok=True)
                    running[threads.submit(processes.run, job, place)] = job, time.monotonic(), place
            finished, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                job, started, place = running.pop(future)
                free.put(place)
                seconds = time.monotonic() - started
                code = future.result()
                ended[job.name] = "failed" if code else "done"
                words = _last_lines(job.log) if code else ""
                told = job.noted(seconds, made_with)
                if code:
                    write_json(job.failure, {**told, "exit_code": code, "words": words})
                else:
                    edited = {path: "edited" for path, before in job.files.items() if digest(Path(path)) != before}
                    write_json(job.note, {**told, "files": {**job.files, **edited}})
                    if edited:
                        raise RunError(f"{', '.join(edited)}: edited while {job.name} ran, so nobody can say what it read. Everything is stopped; the next start says what to remove.")  # fmt: skip
                on_event(job, ended[job.name], seconds, words)
    return ended


def _stopped(job: Job) -> str:
    """By which alarm the job's training was stopped for good; "" where it was not."""
    words = "" if job.note.is_file() or not job.failure.is_file() else _read(job.failure)["words"]
    return words if words.startswith(STOPPED) else ""


class _Processes:
    """The commands that run now; all are stopped when the block is left, however that happens."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, job: Job, place: Mapping[str, str]) -> int:
        """Run a job's command to its end; what it says goes to the job's log."""
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("wb") as log:
            # a group of its own, so that its children end with it and a Ctrl-C at the terminal reaches it once
            process = subprocess.Popen(
                job.command, env={**os.environ, **place}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
                start_new_session=True,
            )  # fmt: skip
            self._running.add(process)
            if self._stopped:
                _signal(process, signal.SIGTERM)
            try:
                return process.wait()
            finally:
                self._running.discard(process)

    def __enter__(self) -> _Processes:
        return self

    def __exit__(self, *error: object) -> None:
        self._stopped = True
        for process in list(self._running):
            _signal(process, signal.SIGTERM)
        deadline = time.monotonic() + SECONDS_TO_STOP
        while self._running and time.monotonic() < deadline:
            time.sleep(0.05)
        for process in list(self._running):
            _signal(process, signal.SIGKILL)


def _signal(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):  # it ended by itself a moment ago
        os.killpg(process.pid, number)


@contextlib.contextmanager
def ended_by_signal() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that no training outlives the command that started it."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def places_for(jobs: int | None) -> list[dict[str, str]]:
    """Where jobs run at the same time: one a GPU where there are any, else one a core with one thread each.

    More threads only get in one another's way on models that fit a CPU.
    """
    import torch

    gpus = torch.cuda.device_count()
    if gpus:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES", ",".join(map(str, range(gpus)))).split(",")
        return [{"CUDA_VISIBLE_DEVICES": visible[number % gpus]} for number in range(jobs or gpus)]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = jobs or cores
    return [{"OMP_NUM_THREADS": str(max(1, cores // count))} for _ in range(count)]


def _made_with() -> dict[str, Any]:
    """Versions, the digest of our own code, and the kind of machine, as a reader of figures needs them; no machine's name."""
    import torch

    told = environment(1)
    gpus = sorted({torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())})
    machine = f"{platform.system()} {platform.machine()}, {told['cpus']} CPU cores"
    return {"python": told["python"], **told["versions"], "code": _code(), "machine": ", ".join([machine, *gpus])}


def _code() -> str:
    """A digest of the code that makes figures: files made with another one may differ in more than their seeds."""
    content = hashlib.sha256()
    for path in (path for folder in OUR_CODE for path in sorted(folder.rglob("*.py"))):
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


def _read(path: Path) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return value


def _last_lines(log: Path, count: int = 5) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(lines[-count:])
