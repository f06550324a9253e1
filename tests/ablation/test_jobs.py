"""Jobs run once their inputs are there; what fails keeps back what needs it, and nothing outlives an interruption."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from rlkit.ablation.inputs import digest
from rlkit.ablation.jobs import Job
from rlkit.ablation.running import run_jobs
from rlkit.errors import RunError

ROOT = Path(__file__).resolve().parents[2]


def job(folder, name, code, needs=(), settings=None):
    return Job(
        name, (sys.executable, "-c", code), tuple(needs), folder / f"{name}.done.json", settings or {"code": code}
    )


def run(jobs, places=2):
    events = []
    ended = run_jobs(jobs, [{"PLACE": str(n)} for n in range(places)], lambda *event: events.append(event))
    return ended, events


def writes(folder, name, text="'x'"):
    return f"import os, pathlib; pathlib.Path({str(folder / name)!r}).write_text(str({text}))"


def test_a_job_waits_for_its_inputs_and_is_kept_the_second_time(tmp_path):
    later = f"import pathlib; assert pathlib.Path({str(tmp_path / 'first')!r}).exists()"
    jobs = [
        job(tmp_path, "a", "import time; time.sleep(.3);" + writes(tmp_path, "first")),
        job(tmp_path, "b", later, ["a"]),
    ]
    assert run(jobs)[0] == {"a": "done", "b": "done"}
    (tmp_path / "first").unlink()
    assert run(jobs)[0] == {"a": "kept", "b": "kept"}  # else b would fail
    run([job(tmp_path, "c", "", settings={"x": 1})])
    with pytest.raises(RunError, match="x: 1 -> 2"):
        run([job(tmp_path, "c", "", settings={"x": 2})])


def test_what_is_made_again_makes_all_that_came_of_it_old(tmp_path):
    """The base model was made anew with other settings, and its evaluation is of the old one."""
    old = job(tmp_path, "a", "", settings={"steps": 1})
    run([old, replace(job(tmp_path, "b", "", ["a"]), made_from={"a": old.decided_by})])
    new = job(tmp_path, "a", "", settings={"steps": 2})
    new.note.unlink()
    with pytest.raises(RunError, match=r"(?s)b.done.json: .*a: is another one now.*rm -r \S+b.done.json$"):
        run([new, replace(job(tmp_path, "b", "", ["a"]), made_from={"a": new.decided_by})])
    assert old.decided_by == job(tmp_path, "other", "", settings={"steps": 1}).decided_by != new.decided_by


def test_all_that_is_old_is_named_at_once(tmp_path):
    run([job(tmp_path, name, "", settings={"x": 1}) for name in "abc"])
    with pytest.raises(RunError, match=r"In all 2 are old: rm -r \S+a.done.json \S+c.done.json$"):
        run([job(tmp_path, name, "", settings={"x": 2 if name != "b" else 1}) for name in "abc"])


def training(folder, logged, settings=None, **more):
    """A training that ends badly, after it has logged a step or before."""
    code = f"import pathlib; p = pathlib.Path({str(folder / 'a')!r}); p.mkdir(exist_ok=True);"
    code += "(p / 'metrics.jsonl').write_text('{}');" if logged else ""
    made = job(folder, "a", code + "raise SystemExit('no')", settings=settings or {"x": 1})
    return replace(made, run=folder / "a", **more)


def test_what_an_interrupted_training_was_started_with_is_not_mixed_with_anything_else(tmp_path):
    folder = tmp_path / "with a blank"
    folder.mkdir()
    rows = folder / "rows.jsonl"
    rows.write_text("old")
    named = {"made_from": {"base": "1"}, "files": {str(rows): digest(rows)}}
    assert run([training(folder, True, **named)])[0] == {"a": "failed"}
    assert run([training(folder, True, **named)])[0] == {"a": "failed"}  # goes on, or tries again
    for words, now in (
        ("x: 1 -> 2", training(folder, True, {"x": 2}, **named)),
        ("base: is another one now", training(folder, True, **{**named, "made_from": {"base": "2"}})),
        ("rows.jsonl: is another one now", training(folder, True, **{**named, "files": {str(rows): "other"}})),
    ):
        with pytest.raises(RunError, match=rf"(?s)a.started.json: .*{words}") as error:
            run([now])
        *_, command = str(error.value).partition("rm -r ")
        told = {Path(path).name for path in shlex.split(command)}
        assert told == {"a.started.json", "a.failed.json", "a"}
    subprocess.run(["rm", "-r", *shlex.split(command)], check=True)
    assert run([now])[0] == {"a": "failed"}


def test_a_training_that_ended_with_nobody_left_to_note_it_is_not_taken_for_another(tmp_path):
    rows = tmp_path / "rows.jsonl"
    rows.write_text("old")
    begun = training(tmp_path, True, files={str(rows): digest(rows)})
    run([begun])
    (tmp_path / "a/config.yaml").write_text("x: 1")
    (tmp_path / "a/done.json").write_text('{"seconds": 3}')
    with pytest.raises(RunError, match=r"rows\.jsonl: is another one now"):
        run([replace(begun, files={str(rows): "other"})])
    assert not begun.note.exists()
    assert run([begun])[0] == {"a": "kept"}
    assert begun.note.exists()
    assert not begun.begun.exists()


def test_a_training_that_is_done_has_one_note(tmp_path):
    ends = replace(job(tmp_path, "a", "", settings={"x": 1}), run=tmp_path / "a")
    assert run([ends])[0] == {"a": "done"}
    assert (ends.note.exists(), ends.begun.exists()) == (True, False)


def test_a_training_that_never_took_a_step_may_start_with_other_settings(tmp_path):
    run([training(tmp_path, False)])
    assert run([training(tmp_path, False, {"x": 2})])[0] == {"a": "failed"}


def test_a_file_that_is_edited_while_it_is_read_stops_everything(tmp_path):
    """Whether the old or the new rows were read, nobody can say; to set the file back does not help either."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("old")
    reads = replace(job(tmp_path, "a", writes(tmp_path, "rows.jsonl", "'new'")), files={str(rows): digest(rows)})
    with pytest.raises(RunError, match=r"rows.jsonl: edited while a ran"):
        run([reads, job(tmp_path, "b", "", ["a"])])
    rows.write_text("old")
    with pytest.raises(RunError, match=r"rows.jsonl: is another one now"):
        run([reads])
    assert not (tmp_path / "b.done.json").exists()


def test_what_fails_keeps_back_what_needs_it_and_nothing_else(tmp_path):
    jobs = [
        job(tmp_path, "a", "raise SystemExit('no memory for this')"),
        job(tmp_path, "b", "", ["a"]),
        job(tmp_path, "c", "", ["b"]),
        job(tmp_path, "d", ""),
    ]
    ended, events = run(jobs)
    assert ended == {"a": "failed", "b": "not run", "c": "not run", "d": "done"}
    assert [words for one, _, _, words in events if one.name == "a"] == ["no memory for this"]
    assert not (tmp_path / "a.done.json").exists()
    told = json.loads((tmp_path / "a.failed.json").read_text())
    assert (told["words"], told["exit_code"]) == ("no memory for this", 1)
    assert len(list(tmp_path.glob("*.failed.json"))) == 1  # what was not run has not failed
    assert run([job(tmp_path, "a", ""), *jobs[1:]])[0] == {"a": "done", "b": "done", "c": "done", "d": "kept"}
    assert not list(tmp_path.glob("*.failed.json"))


@pytest.mark.parametrize(
    ("done", "settings", "noted"),
    [
        ({"seconds": 12.34}, {"train": {"seed": 1}}, True),
        ({"seconds": 12.34}, {"train": {"seed": 2}}, False),
        ({"seconds": 12.34, "stopped": "group_collapse"}, {"train": {"seed": 1}}, False),
    ],
)
def test_a_training_that_ended_alone_is_kept(tmp_path, done, settings, noted):
    """What `rlkit ablate` started had ended when it was killed, and nothing was noted; `rlkit train` would refuse it."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("train: {seed: 1}")
    (tmp_path / "run" / "done.json").write_text(json.dumps(done))
    one = replace(job(tmp_path, "a", "raise SystemExit('complete')", settings=settings), run=tmp_path / "run")
    assert run([one])[0] == {"a": "kept" if noted else "failed"}
    if noted:
        assert json.loads(one.note.read_text())["seconds"] == 12.3
    if "stopped" in done:  # it is not started again, whose refusal would hide why it ended
        assert json.loads(one.failure.read_text())["words"] == "stopped by alarm group_collapse"
        assert run([one])[1][0][3] == "stopped by alarm group_collapse"


def test_places_are_shared_out(tmp_path):
    """Two places: never more than two at a time, and each of the two in a place of its own."""
    code = (
        f"import os, pathlib, time; here = pathlib.Path({str(tmp_path)!r}) / os.environ['PLACE']; here.touch(exist_ok=False);"
        "time.sleep(.2); here.unlink()"
    )
    ended, _ = run([job(tmp_path, f"j{n}", code) for n in range(5)])
    assert set(ended.values()) == {"done"}  # a place taken twice at once would fail at `touch`


def test_no_process_outlives_an_interrupted_one(tmp_path):
    pids = tmp_path / "pids"
    pids.mkdir()
    child = f"import os, pathlib, time; pathlib.Path({str(pids)!r}, str(os.getpid())).touch(); time.sleep(600)"
    script = (
        "import sys; from pathlib import Path; from rlkit.ablation.jobs import Job; from rlkit.ablation.running import *\n"
        f"jobs = [Job(f'j{{n}}', (sys.executable, '-c', {child!r}), (), Path({str(tmp_path)!r}, f'j{{n}}.done.json'), {{}}) for n in range(3)]\n"
        "with ended_by_signal(): run_jobs(jobs, [{}, {}], lambda *event: None)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(list(pids.iterdir())) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=30) != 0
    started = [int(path.name) for path in pids.iterdir()]
    assert len(started) == 2  # the third was never started
    for pid in started:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not list(tmp_path.glob("*.done.json"))


def test_a_note_says_what_was_run(tmp_path):
    run([job(tmp_path, "a", "print('hello')")])
    note = json.loads((tmp_path / "a.done.json").read_text())
    assert note["command"][0] == sys.executable
    assert note["seconds"] >= 0
    assert {"python", "torch", "trl", "code"} <= set(note["made_with"])
    assert str(os.cpu_count()) in note["made_with"]["machine"]
    assert (tmp_path / "a.done.log").read_text() == "hello\n"


def test_a_job_knows_who_started_it_even_if_that_ends_while_it_imports(tmp_path):
    run([job(tmp_path, "a", writes(tmp_path, "said", "os.environ['RLKIT_LAUNCHER'].split()[0]"))])
    assert (tmp_path / "said").read_text() == str(os.getpid())


def test_the_note_of_a_failure_goes_once_its_training_has_ended_alone(tmp_path):
    one = replace(job(tmp_path, "a", "", settings={"x": 1}), run=tmp_path / "a")
    (tmp_path / "a").mkdir()
    (tmp_path / "a/config.yaml").write_text("x: 1")
    (tmp_path / "a/done.json").write_text('{"seconds": 1}')
    one.failure.write_text("{}")
    assert run([one])[0] == {"a": "kept"}
    assert not one.failure.exists()
