"""Running an ablation's jobs: each once its inputs are there, several at a time; nothing outlives an interruption.

Knows processes, places to run and notes; knows neither variants nor figures.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import platform
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

import yaml

from rlkit.ablation.inputs import OUR_CODE, digest
from rlkit.ablation.jobs import Job, done_jobs, read_note
from rlkit.config import differences
from rlkit.errors import RunError
from rlkit.runs import environment, write_json
from rlkit.training.stopping import told_launcher

Outcome = Literal["done", "kept", "failed", "not run"]
STOPPED = "stopped by alarm"
SECONDS_TO_STOP = 20.0  # a training that is told to stop may write a checkpoint first


def note_ended(job: Job, made_with: Mapping[str, Any]) -> None:
    """Write the note of a training that ended after nobody was left to write it: `rlkit ablate` itself was killed."""
    if job.run is None or job.note.is_file() or not (job.run / "done.json").is_file() or job.stale():
        return
    config = yaml.safe_load((job.run / "config.yaml").read_text(encoding="utf-8"))
    if differences(config, job.settings):
        return
    told = read_note(job.run / "done.json", ("seconds",))
    if "stopped" not in told:
        write_json(job.note, job.noted(told["seconds"], made_with))
        job.failure.unlink(missing_ok=True)
        job.begun.unlink(missing_ok=True)
    else:  # such a run is whole and never trained further
        noted = job.noted(told["seconds"], made_with)
        write_json(job.failure, {**noted, "exit_code": 1, "words": f"{STOPPED} {told['stopped']}"})


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
                    if job.run is not None:
                        write_json(job.begun, job.noted(0.0, made_with))
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
                    job.begun.unlink(missing_ok=True)
                    if edited:
                        raise RunError(f"{', '.join(edited)}: edited while {job.name} ran, so nobody can say what it read. Everything is stopped; the next start says what to remove.")  # fmt: skip
                on_event(job, ended[job.name], seconds, words)
    return ended


def _stopped(job: Job) -> str:
    """By which alarm the job's training was stopped for good; "" where it was not."""
    words = "" if job.note.is_file() or not job.failure.is_file() else read_note(job.failure, ("words",))["words"]
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
                job.command, env={**os.environ, **place, **told_launcher()}, stdout=log, stderr=log, stdin=subprocess.DEVNULL,
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


def _last_lines(log: Path, count: int = 5) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return "\n".join(lines[-count:])
