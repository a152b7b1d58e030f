"""Settings of the whole test run."""

import os

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several workers with several torch threads each slow one another down by far more than they gain.
    os.environ["OMP_NUM_THREADS"] = "1"
