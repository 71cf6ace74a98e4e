"""The command line's mouth where it cannot speak as it would like to."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys

import pytest

SAY = "from app import cli, terminal\n"


def spoken(code: str, *, out: int = subprocess.PIPE, **environment: str) -> tuple[int, str, str]:
    """How a process that speaks ends: exit code, standard output, standard error."""
    done = subprocess.run(
        [sys.executable, "-c", SAY + code],
        stdout=out,
        stderr=subprocess.PIPE,
        env={**os.environ, **environment},
        timeout=60,
        check=False,
    )
    return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()


def test_a_terminal_that_knows_ascii_only_gets_every_letter() -> None:
    """Those that it does not know by their numbers."""
    code, out, err = spoken("terminal.say('µs – ok')", PYTHONIOENCODING="ascii")
    assert (code, out, err) == (0, "\\xb5s \\u2013 ok\n", "")


MAIN = "cli.app = lambda: terminal.say('x')\ncli.main()"


def test_output_to_a_full_disk_fails_in_a_sentence() -> None:
    """No traceback, and no second complaint when the process ends."""
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        ended, _, err = spoken(MAIN, out=full)
    finally:
        os.close(full)
    assert ended == 1
    assert err == "Standard output takes nothing: No space left on device.\n"


def test_a_closed_output_fails_in_a_sentence() -> None:
    """As a shell's >&- makes it."""
    ended, _, err = spoken("import sys; sys.stdout = None\n" + MAIN)
    assert (ended, err) == (1, "Standard output is closed.\n")


def test_what_was_typed_is_repeated_in_bounds() -> None:
    """An argument of a hundred thousand letters does not come back whole."""
    _, _, err = spoken("terminal.complain('x' * 100_000)")
    assert err == "x" * 2000 + "…\n"


@pytest.mark.parametrize(
    "ask", ["confirm('effect', yes=False)", "confirm('e', yes=False, name='x')"]
)
def test_the_first_interrupt_ends_a_question(ask: str) -> None:
    """Inside a command's event loop, which would have it cancel the command and not the wait."""
    code = f"""
async def command(): terminal.{ask}
cli.app = lambda: terminal.run(command())
cli.main()
"""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SAY + code], stdin=theirs, stdout=theirs, stderr=subprocess.PIPE
    ) as asking:
        os.close(theirs)
        shown = b""
        while not shown.rstrip().endswith((b"[y/N]", b"to do it:")):
            shown += os.read(ours, 1000)
        asking.send_signal(signal.SIGINT)
        try:
            _, err = asking.communicate(timeout=30)
        finally:
            asking.kill()
    os.close(ours)
    assert (asking.returncode, err) == (130, b"\nNothing was changed.\n")
