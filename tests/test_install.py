"""How `.venv` is brought up to date: what was built for this machine is not replaced unasked."""

from __future__ import annotations

import importlib.util
import os
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
CUDA: Final = "-DGGML_CUDA=on"


class Bench:
    """The installer on a directory of its own; what it would bring is only written down."""

    def __init__(self, installer: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
        self._installer = installer
        self._monkeypatch = monkeypatch
        self.brought: list[str] = []

    def make(self, **environment: str) -> list[str]:
        """Run it as `make` does; the parts that it brings."""
        for name in ("PYTHON", "CMAKE_ARGS", "LLAMA_WHEEL"):
            self._monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            self._monkeypatch.setenv(name, value)
        self.brought.clear()
        self._installer.install()
        return list(self.brought)

    def compiled(self, how: dict[str, str]) -> None:
        """In place of the build."""
        self.brought.append(how["LLAMA_WHEEL"] or how["CMAKE_ARGS"] or "default")


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """An installer that builds nothing."""
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci" / "install.py")
    assert spec is not None
    assert spec.loader is not None
    installer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installer)
    there = Bench(installer, monkeypatch)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").touch()
    monkeypatch.setattr(installer, "VENV", tmp_path)
    monkeypatch.setattr(installer, "STAMP", tmp_path / "stamp.json")
    monkeypatch.setattr(installer, "ask", lambda program: "3.12" if "pip;" in program else "")
    monkeypatch.setattr(installer, "install_locked", lambda: there.brought.append("locked"))
    monkeypatch.setattr(installer, "install_paddock", lambda: there.brought.append("paddock"))
    monkeypatch.setattr(installer, "install_compiled", there.compiled)
    return there


def test_a_build_for_a_gpu_stays_until_another_is_asked_for(
    bench: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    """`make` without CMAKE_ARGS keeps it and says so; an empty one brings the default back."""
    assert bench.make(CMAKE_ARGS=CUDA) == ["locked", CUDA, "paddock"]
    capsys.readouterr()
    assert bench.make() == []
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert CUDA in said
    assert bench.make(CMAKE_ARGS="") == ["default"]
    capsys.readouterr()
    assert bench.make() == []
    assert not capsys.readouterr().out


def test_a_wheel_by_hand_stays_too(bench: Bench, tmp_path: Path) -> None:
    """Until another is named, or a build is asked for."""
    wheel = tmp_path / "llama.whl"
    assert bench.make(LLAMA_WHEEL=str(wheel)) == ["locked", str(wheel), "paddock"]
    assert bench.make() == []
    assert bench.make(CMAKE_ARGS=CUDA) == [CUDA]


def test_a_build_that_was_stopped_is_continued_by_the_next_run(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was asked for last counts, not what was finished last."""
    bench.make()

    def stop(_how: dict[str, str]) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(bench._installer, "install_compiled", stop)
    with pytest.raises(KeyboardInterrupt):
        bench.make(CMAKE_ARGS=CUDA)
    monkeypatch.setattr(bench._installer, "install_compiled", bench.compiled)
    assert bench.make() == [CUDA]


def test_make_tells_what_is_not_given_from_what_is_empty(tmp_path: Path) -> None:
    """An `export` in the Makefile would make both the same."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / "Makefile").write_bytes((ROOT / "Makefile").read_bytes())
    stub = tmp_path / ".ci" / "install"
    stub.write_text('#!/bin/sh\necho "${CMAKE_ARGS-not given}"\n')
    stub.chmod(0o755)
    bare = {name: value for name, value in os.environ.items() if name != "CMAKE_ARGS"}

    def told(*arguments: str, **environment: str) -> str:
        return subprocess.run(
            ["make", "venv", *arguments], cwd=tmp_path, env=bare | environment,
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip

    assert told() == "not given"
    assert told("CMAKE_ARGS=") == told(CMAKE_ARGS="") == ""
    assert told(f"CMAKE_ARGS={CUDA}") == told(CMAKE_ARGS=CUDA) == CUDA
