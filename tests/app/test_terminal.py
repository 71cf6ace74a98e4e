"""The command line's mouth where it cannot speak as it would like to."""

from __future__ import annotations

import array
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios

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
            _, err = asking.communicate(timeout=60)
        finally:
            asking.kill()
    os.close(ours)
    assert (asking.returncode, err) == (130, b"\nNothing was changed.\n")


@pytest.mark.parametrize(
    ("ask", "typed"),
    [
        ("terminal.confirm('effect', yes=False)", b"y\n"),
        ("terminal.confirm('effect', yes=False, name='support')", b"support\n"),
        ("asyncio.run(terminal.ask_async('Keep it?', default=True)) or exit(3)", b"y\n"),
    ],
)
def test_what_was_typed_before_a_question_does_not_answer_it(ask: str, typed: bytes) -> None:
    """The line is in the terminal's buffer before the program asks; only the later one counts."""
    code = f"import asyncio, sys\nopen(int(sys.argv[1])).read()\n{ask}\nprint('agreed')"
    go_there, go_here = os.pipe()
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", SAY + code, str(go_there)],
        stdin=theirs, stdout=theirs, stderr=subprocess.DEVNULL, pass_fds=[go_there],
    ) as asking:  # fmt: skip
        os.write(ours, typed)
        while _waiting(theirs) < len(typed):
            pass
        os.close(go_here)
        shown = b""
        while not shown.rstrip().endswith((b"/N]", b"/n]", b"to do it:")):
            shown += os.read(ours, 1000)
        os.write(ours, b"n\n")
        try:
            asking.communicate(timeout=60)
        finally:
            asking.kill()
    for each in (ours, theirs, go_there):
        os.close(each)
    assert asking.returncode != 0


def _waiting(terminal: int) -> int:
    """The characters of whole lines that a program on this terminal could read."""
    found = array.array("i", [0])
    fcntl.ioctl(terminal, termios.FIONREAD, found)
    return found[0]
