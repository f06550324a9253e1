import os
import subprocess
import sys
from pathlib import Path

import curricula

ROOT = Path(__file__).resolve().parents[2]
LIMIT_SECONDS = 0.2  # of this process's own work, so that a busy machine does not fail it


def test_importing_takes_no_other_package_and_little_time():
    code = (
        "import sys, time\nbefore = time.process_time()\nimport curricula\nprint(time.process_time() - before)\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules} - sys.stdlib_module_names))"
    )
    seconds = []
    for _ in range(3):
        run = subprocess.run(
            [sys.executable, "-S", "-c", code],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        taken, packages = run.stdout.splitlines()
        seconds.append(float(taken))
        assert set(packages.split()) <= {"__main__", "curricula"}
    assert min(seconds) < LIMIT_SECONDS


def test_every_exported_name_is_there():
    assert sorted(curricula.__all__) == curricula.__all__
    assert all(hasattr(curricula, name) for name in curricula.__all__)
