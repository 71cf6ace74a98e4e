"""What a person types of a release beside its versions: devices, a server's command and variables.

Reads no store and asks nothing. Imported by `app.commands.releases`.
"""

from __future__ import annotations

import shlex

import typer


def devices(typed: str) -> list[int]:
    """The indices of GPUs: 0,1."""
    try:
        return [int(each) for each in typed.split(",")]
    except ValueError:
        raise typer.BadParameter(f"--devices {typed!r}: write GPU indices as in 0,1.") from None


def command(typed: str) -> list[str]:
    """The words of a command line, as a shell splits them."""
    try:
        words = shlex.split(typed)
    except ValueError as error:
        raise typer.BadParameter(f"--server cannot be split into words: {error}.") from None
    if not words:
        raise typer.BadParameter("--server is empty; write the command to start.")
    return words


def variable(typed: str) -> tuple[str, str]:
    """A variable of the environment: NAME=VALUE."""
    name, equals, value = typed.partition("=")
    if not equals:
        raise typer.BadParameter(f"--server-env {typed!r}: write NAME=VALUE.")
    return name, value
