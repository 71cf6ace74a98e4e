"""`python -m tests.acceptance.attacks [WORD …]`: the attacks whose names contain a word, or all."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path

from tests.acceptance.attacks import attack, trial
from tests.acceptance.attacks.box import attacked
from tests.acceptance.attacks.victim import Victim


async def main() -> None:
    """Print the table row by row."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--seconds", type=float, default=trial.SECONDS)
    given = parser.parse_args()
    chosen = [
        each
        for each in attack.every()
        if not given.words or any(word in each.name for word in given.words)
    ]
    _say(trial.HEAD)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "home"
        async with (
            attacked(root) as (_, target, key),
            Victim(target.port, key).asking() as victim,
        ):
            trials = trial.Trials(target, victim)
            for each in chosen:
                row = await trials.run(each, given.seconds)
                _say(trial.line(row))
                for what in (*row.cut[:2], *row.refused[:2]):
                    _say(f"    {what}")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
