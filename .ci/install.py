"""Makes `.venv` what `constraints.txt` says: pinned versions, checked hashes, one build.

Runs on the bare Python that `.ci/install` found, so it imports nothing but the standard library.
A stamp in `.venv` holds what it was made from; while that is unchanged this program does nothing.
How llama-cpp-python was asked for stays until somebody asks otherwise: who built for a GPU once
need not say so each time, and an empty CMAKE_ARGS asks for the default.
llama-cpp-python, the only dependency that is compiled, is built with what Paddock does not use
switched off, by the build tools of the lock, into pip's own wheel cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import queue
import re
import shlex
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
STAMP = VENV / "paddock-stamp.json"
LOG = VENV / "llama-build.log"
PIP: list[str | Path] = [VENV / "bin" / "python", "-m", "pip", "install", "--no-deps"]
COMPILED = "llama-cpp-python"
CHOICE = ("CMAKE_ARGS", "LLAMA_WHEEL")
PLAIN_INTERVAL_S = 15
LEAN = (
    "LLAVA_BUILD",
    "LLAMA_BUILD_TESTS",
    "LLAMA_BUILD_TOOLS",
    "LLAMA_BUILD_EXAMPLES",
    "LLAMA_BUILD_SERVER",
    "LLAMA_BUILD_APP",
)


class CannotInstall(Exception):
    """Something is missing on this machine; the message says what to install or change."""


class Progress:
    """One line that lives: rewritten each second on a terminal, a new line now and then off it."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.began = self.said = time.monotonic()
        self.terminal = sys.stdout.isatty()
        if not self.terminal:
            print(title, flush=True)

    def show(self, detail: str) -> None:
        """Says how long it has taken and where it is."""
        now = time.monotonic()
        seconds = int(now - self.began)
        line = f"{self.title}  {seconds // 60}:{seconds % 60:02d}  {detail}"
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            print(f"\r\033[K{line[:width]}", end="", flush=True)
        elif now - self.said >= PLAIN_INTERVAL_S:
            self.said = now
            print(f"  {seconds // 60}:{seconds % 60:02d}  {detail}", flush=True)

    def end(self) -> None:
        """Says how long it took."""
        took = time.monotonic() - self.began
        print(f"\r\033[K{self.title}" if self.terminal else "  ", end="")
        print(f"  done in {took:.0f} s", flush=True)


def chosen() -> bool:
    """Whether the environment says how to come by the compiled package."""
    return any(name in os.environ for name in CHOICE)


def choice(had: dict[str, str]) -> dict[str, str]:
    """How to come by the compiled package: as the environment says, else as it was before."""
    if not chosen():
        return {name: had.get(name, "") for name in CHOICE}
    wheel = os.environ.get("LLAMA_WHEEL", "")
    return {
        "CMAKE_ARGS": os.environ.get("CMAKE_ARGS", "").strip(),
        "LLAMA_WHEEL": str(Path(wheel).resolve()) if wheel else "",
    }


def wanted(had: dict[str, str]) -> dict[str, str]:
    """What each part of `.venv` should have been made from, given what it was made from before."""
    how = choice(had)
    compiled = [blocks()[COMPILED], *(how[name] for name in CHOICE)]
    return {
        **how,
        "root": str(ROOT),
        "locked": hashlib.sha256((ROOT / "constraints.txt").read_bytes()).hexdigest(),
        "compiled": hashlib.sha256("\0".join(compiled).encode()).hexdigest(),
        "paddock": hashlib.sha256((ROOT / "pyproject.toml").read_bytes()).hexdigest(),
    }


def stamped() -> dict[str, str]:
    """What the parts of `.venv` were made from; a part that was never finished is not in it."""
    try:
        return {str(k): str(v) for k, v in json.loads(STAMP.read_bytes()).items()}
    except (OSError, ValueError, AttributeError):
        return {}


def stamp(parts: dict[str, str]) -> None:
    """Records what is there now."""
    written = STAMP.with_suffix(".new")
    written.write_text(json.dumps(parts, indent=1) + "\n")
    written.replace(STAMP)


def keeps_venv(had: dict[str, str]) -> bool:
    """Whether the environment that is there can be brought up to date rather than made anew."""
    python = VENV / "bin" / "python"
    if not python.exists() or had.get("root", str(ROOT)) != str(ROOT):
        return False
    if had == wanted(had) and not os.environ.get("PYTHON"):
        return True
    version = ask("import sys, pip; print('%d.%d' % sys.version_info[:2])")
    if os.environ.get("PYTHON"):
        return version == "{}.{}".format(*sys.version_info)
    return version in {"3.11", "3.12", "3.13"}


def ask(program: str) -> str:
    """What a line of Python says inside `.venv`; an empty string when it fails."""
    asked = subprocess.run(
        [VENV / "bin" / "python", "-I", "-c", program], capture_output=True, text=True, check=False
    )
    return asked.stdout.strip()


def installed_version(name: str) -> str:
    """The version of a distribution in `.venv`, or an empty string."""
    return ask(f"from importlib import metadata as m; print(m.version({name!r}))")


def make_venv() -> None:
    """Makes `.venv` anew with this Python."""
    if not (importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip")):
        version = "{}.{}".format(*sys.version_info)
        raise CannotInstall(
            f"{sys.executable} cannot make virtual environments: install its venv module"
            f" (Debian, Ubuntu: apt install python{version}-venv)."
        )
    if VENV.is_symlink() or VENV.is_file():
        raise CannotInstall(f"{VENV} is not a directory of ours: remove it and run this again.")
    shutil.rmtree(VENV, ignore_errors=True)
    print(f"making .venv with Python {sys.version.split()[0]} ({sys.executable})", flush=True)
    made = subprocess.run(
        [sys.executable, "-m", "venv", VENV], capture_output=True, text=True, check=False
    )
    if made.returncode:
        raise CannotInstall(f"python -m venv failed:\n{made.stdout}{made.stderr}".rstrip())


def blocks() -> dict[str, str]:
    """The requirements of `constraints.txt` by name, each with its hashes."""
    found: dict[str, str] = {}
    name = ""
    for line in (ROOT / "constraints.txt").read_text().splitlines(keepends=True):
        if not line.strip() or line.startswith("#"):
            continue
        if not line[0].isspace():
            head = re.match(r"[A-Za-z0-9._-]+", line)
            if head is None:
                raise CannotInstall(f"constraints.txt has a line that is no requirement: {line}")
            name = head[0].lower()
        found[name] = found.get(name, "") + line
    return found


def run(title: str, command: list[str | Path], env: dict[str, str], *, log: Path) -> None:
    """Runs a command under a progress line, its output in `log`; fails with the log's end."""
    progress = Progress(title)
    lines: queue.Queue[str | None] = queue.Queue()
    tail: list[str] = []
    with log.open("a") as kept:
        process = subprocess.Popen(
            command,
            env=env,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        output = process.stdout
        if output is None:
            raise CannotInstall("no pipe to pip could be opened")

        def read() -> None:
            for line in output:
                kept.write(line)
                lines.put(line)
            lines.put(None)

        threading.Thread(target=read, daemon=True).start()
        detail = ""
        while True:
            try:
                line = lines.get(timeout=1)
            except queue.Empty:
                progress.show(detail)
                continue
            if line is None:
                break
            tail = [*tail[-40:], line]
            detail = describe(line) or detail
            progress.show(detail)
        code = process.wait()
    if code:
        if progress.terminal:
            print()
        raise CannotInstall("".join(tail) + f"pip failed; all it said is in {log}")
    progress.end()


def describe(line: str) -> str:
    """What a line of pip's or ninja's output says to somebody who waits; mostly nothing."""
    if step := re.search(r"\[(\d+)/(\d+)\]", line):
        return f"{int(step[1]) * 100 // int(step[2])} % ({step[1]} of {step[2]} steps)"
    if package := re.match(r"\s*(Collecting|Downloading|Using cached) ([A-Za-z0-9._-]+)", line):
        return f"{package[1].lower()} {package[2]}"
    if line.startswith("Installing collected"):
        return "unpacking"
    return ""


def environment() -> dict[str, str]:
    """The environment for pip: nothing that would send packages elsewhere than into `.venv`."""
    env = {k: v for k, v in os.environ.items() if k not in {"PYTHONPATH", "PYTHONHOME"}}
    env |= {"PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_INPUT": "1"}
    env |= {"PATH": f"{VENV / 'bin'}{os.pathsep}{env.get('PATH', os.defpath)}"}
    return env


def install_locked() -> None:
    """Installs everything that comes as a wheel."""
    requirements = blocks()
    del requirements[COMPILED]
    listed = VENV / "locked.txt"
    listed.write_text("".join(requirements.values()))
    run(
        f"installing {len(requirements)} pinned packages",
        [*PIP, "--require-hashes", "-r", listed],
        environment(),
        log=VENV / "install.log",
    )


def install_compiled(how: dict[str, str]) -> None:
    """Brings llama-cpp-python in: from the cache, from a wheel by hand, or by building it."""
    requirement = blocks()[COMPILED]
    pin = requirement.split("==")[1].split()[0]
    env = environment()
    if wheel := how["LLAMA_WHEEL"]:
        if not Path(wheel).is_file():
            raise CannotInstall(f"LLAMA_WHEEL names {wheel}, which is not a file.")
        run(f"installing {wheel}", [*PIP, "--force-reinstall", wheel], env, log=LOG)
        if (got := installed_version(COMPILED)) != pin:
            raise CannotInstall(f"LLAMA_WHEEL holds version {got}; Paddock is made for {pin}.")
        return

    check_compiler()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    hook = shlex.quote(f"-DCMAKE_PROJECT_llama_cpp_INCLUDE={ROOT / '.ci' / 'llama.cmake'}")
    asked = how["CMAKE_ARGS"]
    env["CMAKE_ARGS"] = " ".join([hook, *(f"-D{name}=OFF" for name in LEAN), asked])
    env.setdefault("CMAKE_BUILD_PARALLEL_LEVEL", str(cores or 1))
    listed = VENV / "compiled.txt"
    listed.write_text(requirement)
    command = [*PIP, "--require-hashes", "--no-build-isolation", "--force-reinstall", "-v"]
    if asked and (cache := own_cache(asked, env)):
        command += ["--cache-dir", cache]
    print(
        f"{COMPILED} {pin} is compiled once, unless pip has it in its cache:"
        " 1.5 to 6 minutes on 2 cores",
        flush=True,
    )
    run(f"building {COMPILED} on {cores} cores", [*command, "-r", listed], env, log=LOG)


def own_cache(cmake_args: str, env: dict[str, str]) -> str:
    """A wheel cache for these build options, since pip's does not know how a wheel was built.

    Stands inside pip's own; empty when that is off.
    """
    asked = subprocess.run(
        [VENV / "bin" / "python", "-m", "pip", "cache", "dir"],
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        return ""
    return f"{asked.stdout.strip()}/paddock-{hashlib.sha256(cmake_args.encode()).hexdigest()[:8]}"


def check_compiler() -> None:
    """Refuses to begin a build that cannot end."""
    compilers = {
        "C": [os.environ.get("CC", ""), "cc", "gcc", "clang"],
        "C++": [os.environ.get("CXX", ""), "c++", "g++", "clang++"],
    }
    for language, names in compilers.items():
        if not any(shutil.which(shlex.split(name)[0]) for name in names if name.strip()):
            raise CannotInstall(
                f"{COMPILED} is compiled here and there is no {language} compiler: install one"
                " (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++) or name one in"
                f" {'CC' if language == 'C' else 'CXX'}."
            )


def install_paddock() -> None:
    """Installs this checkout so that edits count at once."""
    command = [*PIP, "--no-build-isolation", "-e", ROOT]
    run("installing paddock itself", command, environment(), log=VENV / "install.log")


def install() -> None:
    """Does what is missing, part by part; the stamp holds the parts that are finished."""
    had = stamped()
    want, how = wanted(had), choice(had)
    if not chosen() and any(how.values()):
        kept = " ".join(f"{name}={value}" for name, value in how.items() if value)
        print(f"{COMPILED} stays as it was asked for: {kept} (an empty CMAKE_ARGS= ends that)")
    if not keeps_venv(had):
        make_venv()
        had = {}
    elif had == want:
        return
    elif not chosen() and not any(name in had for name in CHOICE):
        pin = blocks()[COMPILED].split("==")[1].split()[0]
        if installed_version(COMPILED) == pin:
            had["compiled"] = want["compiled"]
    had |= {"root": want["root"], **how}
    for part, bring in (
        ("locked", install_locked),
        ("compiled", lambda: install_compiled(how)),
        ("paddock", install_paddock),
    ):
        if had.get(part) != want[part]:
            had.pop(part, None)
            stamp(had)
            bring()
            had[part] = want[part]
        stamp(had)


def main() -> int:
    """Runs `install` and turns what is missing into a sentence and an exit status."""
    try:
        install()
    except CannotInstall as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or VENV}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped; the next run goes on from here", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
