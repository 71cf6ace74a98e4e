"""The first config.toml of a home: every setting with its default, commented out.

It writes the file once and later moves only the port, for a demo whose port was taken. Reading
is `storage.config`'s. Imported by `app.commands`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

TEMPLATE: Final = """\
# Paddock. What is commented out stands at its default; a setting can also come from the
# environment, as PADDOCK_GATEWAY__PORT=8411. Changes count from the node's next start.

[gateway]
# host = "127.0.0.1"            # loopback only; put a TLS proxy in front before you open it
# port = 8411
# body_limit_bytes = 2_000_000

[people]
# Nobody but the owner can look into this directory, until a Unix group is named whose members
# may: they read the store, recorded prompts and answers included, and reach the door.
# group = "paddock"
# What they may do there is their role. The owner is admin. Others are Unix users or "@group";
# a member of the group without a role looks and changes nothing.
# admin = []
# operator = ["sara", "@oncall"]
# viewer = ["@staff"]

[price]
# Without a price no cost is shown. Money is in micro-units: 2_500_000 is 2.50 an hour.
# currency = "USD"
# gpu_hour_micro = 2_500_000
# kwh_micro = 300_000

[retention]
# samples_days = 7
# requests_days = 30
# texts_days = 7
"""


def write(path: Path) -> bool:
    """Write the commented defaults unless a file is there; True when it was written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return False
    with os.fdopen(descriptor, "w") as file:
        file.write(TEMPLATE)
    return True


def move_port(path: Path, port: int) -> None:
    """Put another port into the file, whole or not at all."""
    text, mode = path.read_text(), path.stat().st_mode & 0o777  # a group may be reading it
    line = f"port = {port}"
    changed, hits = re.subn(r"(?m)^#? ?port = \d+.*$", line, text, count=1)
    if not hits:
        changed = text + f"\n[gateway]\n{line}\n"
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(changed)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)
