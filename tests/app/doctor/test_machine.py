"""What the doctor says of a machine."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from app.doctor import machine
from app.doctor.finding import Level
from app.doctor.machine import Machine

HEALTHY = Machine(
    disk_free=500_000_000_000, disk_total=1_000_000_000_000, inodes_free=9_000, inodes_total=10_000,
    memory_available=20_000_000_000, memory_total=24_000_000_000, files_hard=1_048_576,
    synchronised=True, driver=True, devices=("nvidia0",), unreadable=(), engine=True,
    backends=("cuda",),
)  # fmt: skip


def test_nothing_is_wrong_with_a_healthy_machine() -> None:
    """And each part says what it found."""
    found = list(machine.judge(HEALTHY))
    assert {each.level for each in found} == {Level.OK}
    assert [each.subject for each in found] == ["disk", "memory", "files", "clock", "gpu"]
    assert not any(each.advice for each in found)


@pytest.mark.parametrize(
    ("change", "subject", "level", "said"),
    [
        ({"disk_free": 500_000_000}, "disk", Level.PROBLEM, "soon not be recorded"),
        ({"disk_free": 90_000_000_000}, "disk", Level.WARNING, "Only 90"),
        ({"inodes_free": 100}, "disk", Level.PROBLEM, "100 of 10000 file entries"),
        ({"memory_available": 1_000_000_000}, "memory", Level.WARNING, "Only 1"),
        ({"files_hard": 1_024}, "files", Level.WARNING, "1024 files"),
        ({"synchronised": False}, "clock", Level.WARNING, "not synchronised"),
        ({"synchronised": None}, "clock", Level.UNKNOWN, "timedatectl"),
        ({"engine": False}, "engine", Level.PROBLEM, "not installed"),
        ({"devices": ()}, "gpu", Level.PROBLEM, "has no GPU"),
        ({"unreadable": ("nvidia0",)}, "gpu", Level.PROBLEM, "may not open nvidia0"),
        ({"backends": ()}, "gpu", Level.WARNING, "built for the CPU alone"),
    ],
)
def test_what_is_wrong_is_named_with_what_to_do(
    change: dict[str, object], subject: str, level: Level, said: str
) -> None:
    """One fault, one finding; nothing else changes."""
    found = list(machine.judge(msgspec.structs.replace(HEALTHY, **change)))
    wrong = [each for each in found if each.level is not Level.OK]
    assert [(each.subject, each.level) for each in wrong] == [(subject, level)]
    assert said in wrong[0].sentence
    assert wrong[0].advice


def test_a_machine_without_a_gpu_is_a_normal_machine() -> None:
    """It is said what models run on."""
    plain = msgspec.structs.replace(HEALTHY, driver=False, devices=(), backends=())
    gpu = list(machine.judge(plain))[-1]
    assert (gpu.level, "CPU" in gpu.sentence) == (Level.OK, True)


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    """With figures that can be true."""
    found = machine.read(tmp_path)
    assert 0 < found.disk_free <= found.disk_total
    assert 0 < found.memory_available <= found.memory_total
    assert found.engine
    assert list(machine.judge(found))
