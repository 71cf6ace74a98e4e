"""Threads are counted by what the kernel allows, not by what the machine has."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engine.serving.cores import cores

THERE = len(os.sched_getaffinity(0))


def machine(root: Path, files: dict[str, str]) -> Path:
    """A file system with these files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.mark.parametrize(
    ("quota", "expected"),
    [("50000 100000", 1), ("150000 100000", 1), ("max 100000", THERE), ("9900000 100000", THERE)],
)
def test_a_quota_of_cgroup_v2_bounds_the_threads(tmp_path: Path, quota: str, expected: int) -> None:
    """A fraction is rounded down: a thread that is stopped stops all others."""
    root = machine(
        tmp_path,
        {"proc/self/cgroup": "0::/box/worker\n", "sys/fs/cgroup/box/worker/cpu.max": quota},
    )
    assert cores(root) == min(expected, THERE)


def test_the_tightest_ancestor_counts(tmp_path: Path) -> None:
    """The kernel enforces all of them."""
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "0::/box/worker\n",
            "sys/fs/cgroup/box/worker/cpu.max": "max 100000\n",
            "sys/fs/cgroup/box/cpu.max": "100000 100000\n",
        },
    )
    assert cores(root) == 1


def test_inside_a_container_the_root_counts(tmp_path: Path) -> None:
    """There the process sees its own cgroup as the root, whatever its path is outside."""
    root = machine(
        tmp_path,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "100000 100000\n"},
    )
    assert cores(root) == 1


@pytest.mark.parametrize(("quota", "expected"), [("50000", 1), ("-1", THERE)])
def test_a_quota_of_cgroup_v1_bounds_the_threads(tmp_path: Path, quota: str, expected: int) -> None:
    """Its controllers are mounted one by one."""
    group = "sys/fs/cgroup/cpu,cpuacct/box"
    root = machine(
        tmp_path,
        {
            "proc/self/cgroup": "12:memory:/box\n3:cpu,cpuacct:/box\n",
            f"{group}/cpu.cfs_quota_us": quota,
            f"{group}/cpu.cfs_period_us": "100000",
        },
    )
    assert cores(root) == expected


def test_without_cgroups_the_affinity_counts(tmp_path: Path) -> None:
    """Nothing to read, and nothing readable, are no limits."""
    assert cores(tmp_path) == THERE
    assert cores(machine(tmp_path, {"proc/self/cgroup": "garbage\n"})) == THERE
