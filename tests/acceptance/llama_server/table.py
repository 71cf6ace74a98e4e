"""`outcomes.toml`: how each of llama.cpp's server tests ends here, and why where it does not pass.

Imported by the plugin, and by the test that compares it with what happened.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

import msgspec

PATH: Final = Path(__file__).with_name("outcomes.toml")


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One test, one of its cases, or one file.

    `passes`: all its assertions hold. `differs`: it runs and fails as `why` says, at an assertion
    that holds `at`. `not run`: it is skipped, because of `why`. With `other_model` the texts that
    only the model of that test says are not compared; with `endless` the model does not end its
    texts, as that of the test does not.
    """

    outcome: Literal["passes", "differs", "not run"]
    why: str = ""
    at: str = ""
    other_model: bool = False
    endless: bool = False


class Table:
    """Entries by file, test and case; the narrowest one holds."""

    def __init__(self, entries: Mapping[str, Entry]) -> None:
        self.entries = entries

    def of(self, nodeid: str) -> Entry:
        """The entry for a test as pytest names it; what no entry names has to pass."""
        test = nodeid.partition("[")[0]
        file = test.partition("::")[0]
        for name in (nodeid, test, file):
            if (entry := self.entries.get(name.removeprefix("unit/"))) is not None:
                return entry
        return Entry("passes")


def read() -> Table:
    """The table in this folder."""
    return Table(msgspec.convert(tomllib.loads(PATH.read_text()), dict[str, Entry]))
