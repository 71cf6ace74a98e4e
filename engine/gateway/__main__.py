"""`python -m engine.gateway --home DIR`: the OpenAI-compatible HTTP API of a box.

Reports readiness, the port and heartbeats on standard output; logs go to standard error. Exits
with 0 after draining, 2 for a faulty configuration, 4 if it cannot listen on the port, 6 if the
store cannot be opened.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import Final

from storage import errors
from storage.runtime import collector, logs, parent
from storage.runtime.reporting import Reports

with collector.paused():
    import uvloop

    from engine.gateway import server, succession
    from engine.gateway.http import address
    from storage.home import config, paths

_CONFIG: Final = 2
_PORT: Final = 4
_STORE: Final = 6


def main() -> int:
    """Read the configuration, listen, serve."""
    parent.hold(signal.SIGTERM)  # its clients get an error event before it dies with its node
    parser = argparse.ArgumentParser(prog="python -m engine.gateway", description=__doc__)
    parser.add_argument("--home", type=Path, default=None)
    parser.add_argument("--drain-s", type=float, default=server.DRAIN_S)
    arguments = parser.parse_args()
    reports = Reports.take_stdout()
    logs.configure()
    found = paths.find(arguments.home)
    succession.take(found)
    try:
        settings = config.load(found)
        listening = address.listen(settings.gateway.host, settings.gateway.port)
        gateway = server.Gateway(found, settings, reports, drain_s=arguments.drain_s)
        uvloop.run(gateway.run(listening))
    except errors.ConfigError as error:
        return _fail(reports, _CONFIG, error)
    except address.CannotListen as error:
        return _fail(reports, _PORT, error)
    except errors.StorageError as error:
        return _fail(reports, _STORE, error)
    return 0


def _fail(reports: Reports, code: int, error: Exception) -> int:
    reports.say(failed=str(error))
    sys.stderr.write(f"{error}\n")
    return code


if __name__ == "__main__":
    exit_code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)  # the store's threads may hang on a stuck disk
