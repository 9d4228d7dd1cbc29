"""Numeric libraries read this when they load: tests run in several processes, one thread each (see scripts/check)."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
