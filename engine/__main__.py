"""`python -m engine --home DIR`: the node of one home.

Exit 0 after draining; 2 bad arguments or configuration; 4 the gateway can not listen; 5 another
node has this home; 6 the store can not be used. The sentence is the last line on standard error,
and the log is in the home.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import Final, TextIO

import structlog

from engine import logs
from engine.node import lock, node, repair
from storage import config, errors
from storage import home as homes
from storage.home import Home

_BAD_CONFIG: Final = 2
_SECOND_NODE: Final = 5
_NO_STORE: Final = 6
_LOG_LIMIT: Final = 16 * 1024 * 1024

_log = structlog.get_logger("node")


def main() -> int:
    """Run one node; returns its exit code."""
    os.umask(0o077)
    parser = argparse.ArgumentParser(prog="python -m engine", description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="where the box lives")
    home = homes.find(parser.parse_args().home)
    try:
        homes.make(home)
        held = lock.take(home.lock)
        settings = config.load(home)
    except lock.AlreadyRuns as error:
        return _sorry(str(error), _SECOND_NODE)
    except (errors.StorageError, OSError) as error:
        return _sorry(str(error), _BAD_CONFIG)
    logs.configure(_log_file(home))
    try:
        return asyncio.run(_live(home, settings))
    except errors.StorageError as error:
        _log.error("the node can not go on", message=str(error))
        return _sorry(str(error), _NO_STORE)
    finally:
        os.close(held)


async def _live(home: Home, settings: config.Config) -> int:
    life = await repair.begin(home)
    try:
        here = node.Node(
            home,
            life.store,
            settings,
            started_at_us=life.started_at_us,
            clean=life.clean,
            say=node.say,
        )
        code = await here.run()
        return _sorry(here.why, code) if code else 0
    finally:
        await life.end()


def _log_file(home: Home) -> TextIO:
    path = home.log("node")
    try:
        if path.stat().st_size > _LOG_LIMIT:
            path.replace(path.with_suffix(".log.1"))
    except OSError:
        pass
    try:
        return path.open("a", encoding="utf-8")
    except OSError:
        return sys.stderr


def _sorry(message: str, code: int) -> int:
    sys.stderr.write(message + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
