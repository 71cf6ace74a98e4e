"""`paddock backup` and `paddock restore`: copies of the store in one file."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from app import errors, session, terminal, words
from app.commands import options
from storage import errors as storage_errors
from storage import store as stores
from storage.control_socket import client
from storage.home import access, clock
from storage.home.identity import Backup
from storage.home.paths import Home
from storage.store import Copy

File = Annotated[Path, typer.Argument(metavar="FILE", help="The backup, one file.")]


def backup(file: File, reason: options.Reason = "", as_json: options.Json = False) -> None:
    """Copy the store into a new file, beside a running node."""
    home = session.home()
    access.require(home)
    if not access.owns(home):
        raise errors.AppError(f"Only the owner of {home.root} can copy its store; ask them.")
    made = stores.backup(home, file.absolute())
    try:
        _record(home, made, reason)
    except storage_errors.StorageError as error:
        terminal.complain(f"The backup is made, but the ledger does not have it: {error}")
    said = [
        f"{file} is {_described(made)}. It has hashes of keys and recorded texts: keep it private."
    ]
    terminal.show(_document(made), said, as_json=as_json)


def _record(home: Home, made: Copy, reason: str) -> None:
    """Have it in the ledger: of the running node, or with the next start of one."""
    by, to = access.user(os.geteuid()), str(made.path)
    if not stores.note(home, Backup(clock.now_us(), by, to, reason)):
        terminal.run(client.backed_up(home, to, reason=reason))


def restore(
    file: File,
    replace: Annotated[
        bool, typer.Option("--replace", help="Set a healthy store aside, or take another box's.")
    ] = False,
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Replace the store with a backup; the current store is set aside.

    Model files that the restored store does not name are kept for a week, secrets for a day.
    """
    home, source = session.home(), file.absolute()
    found = stores.inspect(source)
    well = stores.healthy(home)
    if well and not replace:
        raise errors.AppError(
            f"{home.root} has a healthy store; stop the node and add --replace to set it aside."
        )
    effect = f"Store of {home.root}  → {file}, {_described(found)}"
    if well:
        effect += "; what was stored since is set aside"
    terminal.confirm(effect, yes=yes, name=home.root.name if well else "")
    if not yes:
        reason = terminal.ask_reason(reason)
    done = stores.restore(home, source, replace=replace, reason=reason)
    said = [f"{home.root} now has the store of {file}."]
    if done.aside is not None:
        said.append(f"The previous store is {done.aside}.")
    document = _document(done.copy) | {"aside": None if done.aside is None else str(done.aside)}
    terminal.show(document, said, as_json=as_json)


def _described(copy: Copy) -> str:
    named = f"store {copy.id[:8]}" if copy.id else "a store without an id"
    return f"{named}, schema {copy.schema}, {words.size(copy.size_bytes)}"


def _document(copy: Copy) -> dict[str, object]:
    return {
        "path": str(copy.path),
        "store": copy.id or None,
        "schema": copy.schema,
        "size_bytes": copy.size_bytes,
    }
