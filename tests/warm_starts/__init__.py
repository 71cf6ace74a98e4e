"""Starts the processes of a box by forking a process that has imported their libraries.

Importing libraries is most of the cost of a node in a test: half a second of processor time for
each of its processes. A nursery does these imports once; `python -m engine.gateway` and the like
are then forked from it. Each has its own process id, session, environment, descriptors and command
line, is a child of the process that called Popen, and runs its `__main__` from the beginning. A
process that a nursery cannot start exactly as asked, or fails to start, is started cold.

    popen         `warm` and `cold`: whether subprocess.Popen asks a nursery
    nursery       a nursery, as the process that asks it sees it
    request       what is asked of it
    forking       how it forks a process and sets it up
    command_line  what /proc shows as the command line of such a process
    __main__      the program of a nursery: `python -m tests.warm_starts`

The differences from a cold start: all processes of a nursery share one hash seed, and /proc shows
the environment of the nursery. An import that works only because another module was imported
before it succeeds here; tests/test_warm_starts.py therefore starts each of `MODULES` cold, as does
any test that uses the fixture `cold_starts`. PR_SET_PDEATHSIG fires when the parent *thread* ends,
and here that may be another thread of the parent than the one that called Popen.

Imported by tests/conftest.py.
"""

from typing import Final

MODULES: Final = (
    "engine", "engine.control", "engine.gateway", "engine.jobs", "engine.reads", "runbooks",
    "engine.serving",
)  # fmt: skip
"""The modules whose processes are started warm."""
