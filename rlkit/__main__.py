"""`python -m rlkit`, which is also what `deepspeed --module rlkit` starts."""

import sys

from rlkit.cli import main
from rlkit.launching.ends import skip_teardown, tell_end

if __name__ == "__main__":
    skip_teardown()
    code = 1  # what Python makes of an exception
    try:
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        raise
    finally:
        tell_end(code)
    sys.exit(code)
