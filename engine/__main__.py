"""`python -m engine --home DIR`: the node of one data directory.

Exit 0 after draining; 1 an internal fault; 2 bad arguments or configuration; 4 the gateway cannot
listen; 5 another node runs on this directory; 6 the store cannot be used. The reason is the last
line on standard error, and the log is in the directory. The gateway takes longest to be ready, so
it is started first, before the libraries of the store are imported.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, TextIO

import structlog

from engine.node import commands, process_logs, specs
from storage import errors
from storage.home import lock, migrating
from storage.home import paths as homes
from storage.home.paths import Home
from storage.runtime import collector, logs

_BAD_CONFIG: Final = 2
_SECOND_NODE: Final = 5
_NO_STORE: Final = 6
_TELL_S: Final = 1.0

_log = structlog.get_logger("node")


def main() -> int:
    """Run one node; returns its exit code."""
    os.umask(0o077)
    parser = argparse.ArgumentParser(prog="python -m engine", description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="the data directory")
    home = homes.find(parser.parse_args().home)
    try:
        homes.make(home)
        held = lock.take(home.lock)
    except lock.AlreadyRuns as error:
        return _sorry(str(error), _SECOND_NODE)
    except (errors.StorageError, OSError) as error:
        return _sorry(str(error), _BAD_CONFIG)
    logs.configure(_log_file(home))
    gateway = specs.start(commands.gateway(home))
    try:
        return asyncio.run(_live(home, gateway))
    except errors.ConfigError as error:
        return _sorry(str(error), _BAD_CONFIG)
    except errors.StorageError as error:
        return _sorry(str(error), _NO_STORE)
    finally:
        gateway.kill()  # if the node failed before it watched the gateway
        os.close(held)


async def _live(home: Home, gateway: subprocess.Popen[bytes]) -> int:
    # After the gateway's start, which is what takes longest.
    with collector.paused():
        from engine.node import node, recovery  # noqa: PLC0415
        from storage.home import access, config  # noqa: PLC0415

    settings = config.load(home)
    people = settings.people
    group = access.group(people.group)
    if group is None:
        access.admit(home, None)
        if people.admin or people.operator or people.viewer:
            _log.warning(
                "[people] names users, but without [people] group only the owner can connect"
            )
    telling = asyncio.create_task(_tell(home, node.say))
    try:
        life = await recovery.begin(home)
    finally:
        telling.cancel()
    try:
        access.admit(home, group)
        here = node.Node(
            home,
            life,
            settings,
            gateway=gateway,
            say=node.say,
        )
        code = await here.run()
        return _sorry(here.why, code) if code else 0
    finally:
        await life.end()


async def _tell(home: Home, say: Callable[..., None]) -> None:
    """Say how far the store is migrated, for as long as that takes."""
    told = None
    while True:
        await asyncio.sleep(_TELL_S)
        if (now := migrating.read(home)) is not None and now != told:
            say(event=now.words, percent=now.percent)
            told = now


def _log_file(home: Home) -> TextIO:
    path = home.log("node")
    process_logs.trim((path,))
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK  # a FIFO would hang
        return os.fdopen(os.open(path, flags, 0o600), "a", encoding="utf-8")
    except OSError:
        return sys.stderr


def _sorry(message: str, code: int) -> int:
    if structlog.is_configured():  # the log exists once the lock is held
        _log.error("the node stops", message=message)
    sys.stderr.write(message + "\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
