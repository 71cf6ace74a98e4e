"""The first config.toml of a data directory: every setting with its default, commented out.

It writes the file once and later sets only the port, for a demo whose port was taken; reading is
done by `storage.home.config`. Imported by `app.commands`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import tomlkit
from tomlkit.exceptions import TOMLKitError

from app import errors

TEMPLATE: Final = """\
# Paddock. Settings that are commented out use the defaults shown; the environment overrides
# them, as in PADDOCK_GATEWAY__PORT=8411. Changes take effect when the node restarts.

[gateway]
# host = "127.0.0.1"            # loopback only; put a TLS proxy in front of any other address
# port = 8411
# body_limit_bytes = 2_000_000
# bodies_limit_bytes = 256_000_000  # of all bodies being received; one key may have a quarter
# connections = 10_000          # as many as the limit of open files allows, 10_000 at most
# connections_per_address = 2_500  # a quarter of them
# proxies = ["127.0.0.0/8", "::1/128"]  # addresses without a limit of their own
# allowed_origins = []          # web pages that may ask (CORS): ["https://chat.example.org"]
# open_metrics = false          # true: GET /metrics needs no key, not even through a proxy

[people]
# Only its owner can read this directory, unless a Unix group is named here. Members of the group
# can read the store, recorded prompts and answers included, and reach the control socket.
# group = "paddock"
# What they may change depends on their role. The owner is admin; others are Unix users or
# "@group". A member of the group without a role can read and change nothing.
# admin = []
# operator = ["sara", "@oncall"]
# viewer = ["@staff"]

[price]
# Without a price no cost is shown. `paddock prices set` sets prices from a time on; this one is
# used before the first of them. Money is in micro-units: 2_500_000 is 2.50 per hour.
# currency = "USD"
# gpu_hour_micro = 2_500_000
# time_zone = "UTC"             # of the days by which costs are counted: "Europe/Berlin"

[retention]
# samples_days = 7              # measured seconds; requests are also summed up by the minute,
# minutes_days = 30             # the hour and the day, so that older figures stay
# hours_days = 400              # hours and days
# costs_days = 400
# requests_days = 30
# texts_days = 7
# jobs_days = 30
"""


def write(path: Path) -> bool:
    """Write the commented defaults unless there is a file; True when it was written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(TEMPLATE)
    return True


def set_port(path: Path, port: int) -> None:
    """Set the port under [gateway], all at once; comments, order and mode stay.

    Raises:
        errors.AppError: the file is not TOML, or [gateway] is no table; it stays as it is.
    """
    try:
        document = tomlkit.parse(path.read_text())
        gateway = document.setdefault("gateway", tomlkit.table())
        gateway["port"] = port
    except (TOMLKitError, TypeError, ValueError) as error:
        raise errors.AppError(
            f"{path} cannot be edited ({error}); write `port = {port}` under [gateway] in it and "
            "try again."
        ) from error
    mode = path.stat().st_mode & 0o777  # a group may be reading it
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(tomlkit.dumps(document))
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
