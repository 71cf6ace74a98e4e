"""`paddock keys`: the secret is made here and shown once; only its hash leaves the terminal."""

from __future__ import annotations

from typing import Annotated

import typer

from app import errors, session, terminal, words
from app.commands import options
from storage import keys

app = options.group()


@app.command()
def create(
    name: Annotated[str, typer.Option("--name", help="Whose key it is.")],
    role: Annotated[
        keys.Role, typer.Option("--role", help="What it may do.", case_sensitive=False)
    ] = keys.Role.CLIENT,
    tenant: Annotated[str, typer.Option("--tenant", help="Who is counted; else the name.")] = "",
    synthetic: Annotated[
        bool, typer.Option("--synthetic", help="Its requests are load, labelled everywhere.")
    ] = False,
    reason: options.Reason = "",
    as_json: options.Json = False,
) -> None:
    """Create a key; its secret is printed this once."""
    minted = keys.mint()
    arguments: dict[str, object] = {
        "name": name,
        "prefix": minted.prefix,
        "sha256": minted.sha256,
        "role": role.value,
        "tenant": tenant or name,
        "synthetic": synthetic,
    }
    done = terminal.run(session.ask("keys.add", name, arguments, reason=reason))
    if as_json and (done.ok or done.waits):  # what waits may come to be: its secret is said, too
        told = {"name": name, "role": role.value, "secret": minted.secret, "state": done.state}
        terminal.show(told, (), as_json=True)
        if done.waits:
            raise errors.Waits(done.sentence)
        return
    session.tell(done, then=f"{minted.secret}\nKeep it now: only its hash is stored.")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name or prefix.")],
    reason: options.Reason = "",
    yes: options.Yes = False,
    as_json: options.Json = False,
) -> None:
    """Revoke a key: requests with it are refused from now on."""
    terminal.run(_revoke(name, reason=reason, yes=yes, as_json=as_json))


async def _revoke(name: str, *, reason: str, yes: bool, as_json: bool) -> None:
    effect = f"Key {name}  works → revoked, for good; its clients are refused at once"
    confirm = session.agreed("keys.revoke", name, effect, yes=yes)
    done = await session.ask("keys.revoke", name, reason=reason, confirm=confirm)
    session.tell(done, as_json=as_json)


@app.command("list")
def every(as_json: options.Json = False) -> None:
    """All keys; their secrets are not known to the box."""
    terminal.run(_every(as_json=as_json))


async def _every(*, as_json: bool) -> None:
    async with session.reading() as s:
        known = await keys.every(s)
    head = ("KEY", "PREFIX", "ROLE", "TENANT", "LOAD", "STANDING", "CREATED", "BY")
    rows = [head, *(_row(key) for key in known)]
    terminal.show(known, words.table(rows), as_json=as_json)


def _row(key: keys.Key) -> tuple[str, ...]:
    return (
        words.safe(key.name),
        key.prefix,
        key.role.value,
        words.safe(key.tenant),
        "synthetic" if key.synthetic else "real",
        "works" if key.revoked_at_us is None else f"revoked {words.clock(key.revoked_at_us)}",
        words.clock(key.created_at_us),
        key.created_by,
    )


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The key's name or prefix.")],
    as_json: options.Json = False,
) -> None:
    """One key, without its secret."""
    terminal.run(_show(name, as_json=as_json))


async def _show(name: str, *, as_json: bool) -> None:
    async with session.reading() as s:
        key = await keys.find(s, name)
    heads = ("key", "prefix", "role", "tenant", "load", "standing", "created", "by")
    lines = words.table(list(zip(heads, _row(key), strict=True)))
    terminal.show(key, lines, as_json=as_json)
