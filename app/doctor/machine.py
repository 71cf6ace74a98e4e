"""The machine under the box: disk, memory, open files, clock, GPU.

`read` asks the kernel and the installed packages; the rest is pure. Nothing is loaded that a
terminal must not load: the engine's build is read from the files beside it.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec
import psutil

from app import words
from app.doctor.finding import Finding, ok, problem, unknown, warning

_GB: Final = 1_000_000_000
_LOW_DISK: Final = 0.10
_NO_DISK_BYTES: Final = 1 * _GB
_FEW_FILES: Final = 4_096
_LOW_INODES: Final = 0.05
_DRIVER: Final = Path("/proc/driver/nvidia/version")
_DEVICES: Final = Path("/dev")
_ACCELERATED: Final = ("libggml-cuda", "libggml-hip", "libggml-vulkan", "libggml-metal")
_ASK_S: Final = 5.0


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """What was read. Sizes are in bytes; None: not known.

    `synchronised` is what systemd says of the clock. `devices` are the GPUs' device files, and
    `unreadable` those that this user may not open. `backends` are the engine's GPU libraries.
    """

    disk_free: int
    disk_total: int
    inodes_free: int
    inodes_total: int
    memory_available: int
    memory_total: int
    files_hard: int
    synchronised: bool | None
    driver: bool
    devices: tuple[str, ...]
    unreadable: tuple[str, ...]
    engine: bool
    backends: tuple[str, ...]


def read(home: Path) -> Machine:
    """Ask the kernel about the machine and about the file system of a directory that exists."""
    disk = os.statvfs(home)
    memory = psutil.virtual_memory()
    devices = sorted(_DEVICES.glob("nvidia[0-9]*"))
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    engine, backends = _build()
    return Machine(
        disk_free=disk.f_bavail * disk.f_frsize,
        disk_total=disk.f_blocks * disk.f_frsize,
        inodes_free=disk.f_favail,
        inodes_total=disk.f_files,
        memory_available=memory.available,
        memory_total=memory.total,
        files_hard=2**31 if hard == resource.RLIM_INFINITY else hard,
        synchronised=_synchronised(),
        driver=_DRIVER.exists(),
        devices=tuple(each.name for each in devices),
        unreadable=tuple(each.name for each in devices if not os.access(each, os.R_OK | os.W_OK)),
        engine=engine,
        backends=backends,
    )


def judge(found: Machine) -> Iterator[Finding]:
    """All findings, in the order in which they matter."""
    yield _disk(found)
    if found.inodes_total and found.inodes_free < found.inodes_total * _LOW_INODES:
        said = f"{found.inodes_free} of {found.inodes_total} file entries are free"
        yield problem("disk", f"{said}.", "Remove small files from the file system of the home.")
    yield _memory(found)
    yield _files(found)
    yield _clock(found)
    yield _gpu(found)


def _disk(found: Machine) -> Finding:
    said = f"{words.size(found.disk_free)} of {words.size(found.disk_total)} are free"
    if found.disk_free < _NO_DISK_BYTES:
        advice = "Free space now: `paddock models gc --dry-run` says what can go."
        return problem("disk", f"{said}: requests will soon not be recorded.", advice)
    if found.disk_free < found.disk_total * _LOW_DISK:
        advice = "`paddock models gc --dry-run` says which model files nothing needs."
        return warning("disk", f"Only {said}.", advice)
    return ok("disk", f"{said}.")


def _memory(found: Machine) -> Finding:
    said = f"{words.size(found.memory_available)} of {words.size(found.memory_total)} are available"
    if found.memory_available < found.memory_total * 0.05:
        advice = "A load may be refused, or a process killed: stop what is not needed."
        return warning("memory", f"Only {said}.", advice)
    return ok("memory", f"{said}.")


def _files(found: Machine) -> Finding:
    if found.files_hard < _FEW_FILES:
        said = f"A process may open {found.files_hard} files, a connection of a client is one."
        advice = "Raise it: `LimitNOFILE=65536` in the systemd unit, or `ulimit -Hn 65536`."
        return warning("files", said, advice)
    limit = "any number of" if found.files_hard >= 2**31 else str(found.files_hard)
    return ok("files", f"A process may open {limit} files.")


def _clock(found: Machine) -> Finding:
    if found.synchronised is None:
        said = "Whether the clock is synchronised is not known: timedatectl does not say."
        return unknown("clock", said, "Ages, retention and alerts follow the clock; check NTP.")
    if not found.synchronised:
        said = "The clock is not synchronised."
        return warning("clock", said, "Switch NTP on: `timedatectl set-ntp true`.")
    return ok("clock", "The clock is synchronised.")


def _gpu(found: Machine) -> Finding:
    built = ", ".join(found.backends) or "the CPU alone"
    if not found.engine:
        advice = "Install it: `make venv` in the checkout, or the wheel of llama-cpp-python."
        return problem("engine", "llama-cpp-python is not installed; no worker can start.", advice)
    if not (found.driver or found.devices):
        return ok("gpu", f"No NVIDIA driver: models run on the CPU (engine built for {built}).")
    if not found.devices:
        advice = "`nvidia-smi` and `dmesg | grep -i nvrm` say more; after an update, reboot."
        return problem("gpu", "The driver is loaded and has no GPU.", advice)
    if found.unreadable:
        said = f"This user may not open {', '.join(found.unreadable)}."
        return problem("gpu", said, "Add the node's user to the group that owns /dev/nvidia*.")
    if not found.backends:
        said = f"{len(found.devices)} GPU, and the engine is built for the CPU alone."
        return warning("gpu", said, "Build it again: `make venv CMAKE_ARGS=-DGGML_CUDA=on`.")
    return ok("gpu", f"{words.counted(len(found.devices), 'GPU')}; engine built for {built}.")


def _synchronised() -> bool | None:
    """What systemd says; None where it is not there or does not answer."""
    asked = shutil.which("timedatectl")
    if asked is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 a program of the system, with fixed words
            [asked, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True, text=True, timeout=_ASK_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return {"yes": True, "no": False}.get(done.stdout.strip())


def _build() -> tuple[bool, tuple[str, ...]]:
    """Whether the engine is installed, and the GPU libraries that lie beside it."""
    package = importlib.util.find_spec("llama_cpp")
    if package is None or not package.submodule_search_locations:
        return False, ()
    lib = Path(next(iter(package.submodule_search_locations))) / "lib"
    names = {each.name.partition(".")[0] for each in lib.glob("libggml-*")}
    return True, tuple(
        sorted(each.removeprefix("libggml-") for each in names if each in _ACCELERATED)
    )
