"""The first config.toml of a home: every setting with its default, commented out.

It writes the file once and later moves only the port, for a demo whose port was taken. Reading
is `storage.home.config`'s. Imported by `app.commands`.
"""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any, Final

from app import errors

TEMPLATE: Final = """\
# Paddock. What is commented out stands at its default; a setting can also come from the
# environment, as PADDOCK_GATEWAY__PORT=8411. Changes count from the node's next start.

[gateway]
# host = "127.0.0.1"            # loopback only; put a TLS proxy in front before you open it
# port = 8411
# body_limit_bytes = 2_000_000
# open_metrics = false          # true: GET /metrics takes no key, also through a proxy

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

[retention]
# samples_days = 7
# requests_days = 30
# texts_days = 7
"""

_GATEWAY: Final = re.compile(
    r"""^[ \t]*\[[ \t]*["']?gateway["']?[ \t]*\][^\n]*(?:\n|\Z)""", re.MULTILINE
)
_SECTION: Final = re.compile(r"^[ \t]*\[", re.MULTILINE)
_PORT: Final = re.compile(r"""^[ \t]*["']?port["']?[ \t]*=[^\n]*(?:\n|\Z)""", re.MULTILINE)
_NO_PORT: Final = re.compile(r"^[ \t]*#[ \t]*port[ \t]*=[^\n]*(?:\n|\Z)", re.MULTILINE)


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
    """Put another port into the file's [gateway], whole or not at all.

    Raises:
        errors.AppError: the file says it in a way that this does not know; it stays as it is.
    """
    text, mode = path.read_text(), path.stat().st_mode & 0o777  # a group may be reading it
    changed = _with_port(text, port)
    before, after = _read(text), _read(changed)
    if before is None or after is None or after != _wanted(before, port):
        raise errors.AppError(f"Write `port = {port}` under [gateway] in {path} and try again.")
    fresh = path.with_suffix(".new")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(changed)
        os.fchmod(file.fileno(), mode)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _with_port(text: str, port: int) -> str:
    """The port that the section sets, else the one that it has commented out, else a new line."""
    line = f"port = {port}\n"
    head = _GATEWAY.search(text)
    if head is None:
        return f"{text.rstrip()}\n\n[gateway]\n{line}".lstrip()
    following = _SECTION.search(text, head.end())
    end = following.start() if following else len(text)
    section = text[head.end() : end]
    for known in (_PORT, _NO_PORT):
        if known.search(section):
            return text[: head.end()] + known.sub(line, section, count=1) + text[end:]
    return f"{text[: head.end()].rstrip()}\n{line}{section}{text[end:]}"


def _read(text: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def _wanted(before: dict[str, Any], port: int) -> dict[str, Any]:
    return {**before, "gateway": {**before.get("gateway", {}), "port": port}}
