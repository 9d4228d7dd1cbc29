"""What all tests share."""

import os
from functools import cache

# Numeric libraries read this when they load: tests run in several processes, one thread each (see scripts/check).
os.environ.setdefault("OMP_NUM_THREADS", "1")

import typer.main
import typer.testing

# Making the commands out of their functions takes longer than running most of them; they are the same in every test.
typer.main.get_command = typer.testing._get_command = cache(typer.main.get_command)
