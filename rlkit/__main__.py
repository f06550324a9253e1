"""`python -m rlkit`, which is also what `deepspeed --module rlkit` starts."""

import sys

from rlkit.cli import main

if __name__ == "__main__":
    sys.exit(main())
