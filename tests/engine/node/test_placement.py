"""On which GPUs an instance goes, for any machine and any load on it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.node import placement
from engine.node.placement import MARGIN_BYTES, Device, NotThere

GB = 1024**3

machines = st.lists(st.integers(0, 80), max_size=8).map(
    lambda free: [Device(index, each * GB) for index, each in enumerate(free)]
)
sizes = st.integers(0, 200).map(lambda size: size * GB)


@given(devices=machines, size=sizes, split=st.booleans())
def test_what_fits_on_one_device_goes_on_the_freest(
    devices: list[Device], size: int, split: bool
) -> None:
    """One device is faster than several, and the freest leaves most room to the others."""
    chosen = placement.place(None, devices=devices, size_bytes=size, split=split)
    fitting = [each for each in devices if each.free_bytes - MARGIN_BYTES >= size]
    if fitting or (devices and not split):
        (index,) = chosen
        assert devices[index].free_bytes == max(each.free_bytes for each in devices)


@given(devices=machines, size=sizes)
def test_what_fits_on_no_device_is_split_over_as_few_as_hold_it(
    devices: list[Device], size: int
) -> None:
    """Or over all, where even they do not: the load then says what is missing."""

    def room(indices: tuple[int, ...]) -> int:
        return sum(max(0, devices[index].free_bytes - MARGIN_BYTES) for index in indices)

    chosen = placement.place(None, devices=devices, size_bytes=size, split=True)
    everything = tuple(range(len(devices)))
    assert list(chosen) == sorted(set(chosen))
    if room(everything) < size:
        assert chosen == everything
    elif len(chosen) > 1:
        freest = sorted(everything, key=lambda index: -devices[index].free_bytes)
        assert room(chosen) >= size > room(tuple(freest[: len(chosen) - 1]))


def test_instances_that_are_still_loading_count() -> None:
    """Two that start at once do not both take the same free memory."""
    devices = [Device(0, 20 * GB), Device(1, 18 * GB)]
    first = placement.place(None, devices=devices, size_bytes=10 * GB, split=True)
    second = placement.place(
        None, devices=devices, size_bytes=10 * GB, split=True, reserved={0: 10 * GB}
    )
    assert (first, second) == ((0,), (1,))


def test_named_devices_are_taken_as_they_are_named() -> None:
    """Their order is the order in which the weights are laid out."""
    devices = [Device(0, 0), Device(1, 0)]
    assert placement.place((1, 0), devices=devices, size_bytes=GB, split=True) == (1, 0)


@pytest.mark.parametrize(
    ("devices", "said"),
    [([Device(0, GB), Device(1, GB)], "there is no GPU 3; present: 0, 1"), ([], "has none")],
)
def test_a_device_that_is_not_there_is_refused_with_those_that_are(
    devices: list[Device], said: str
) -> None:
    """So that the next try is right."""
    with pytest.raises(NotThere, match=said):
        placement.place((0, 3) if devices else (3,), devices=devices, size_bytes=1, split=True)


def test_a_machine_without_gpus_places_nothing() -> None:
    """No variable is set, and the worker computes on the CPU."""
    chosen = placement.place(None, devices=[], size_bytes=GB, split=True)
    assert (chosen, placement.environment(chosen)) == ((), {})


def test_devices_are_numbered_as_the_driver_numbers_them() -> None:
    """CUDA's own order is by speed."""
    assert placement.environment((2, 0)) == {
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "CUDA_VISIBLE_DEVICES": "2,0",
    }


@pytest.mark.parametrize(
    ("restriction", "left"),
    [(None, [0, 1, 2]), ("0, 2", [0, 2]), ("", []), ("7", []), ("GPU-8f2a, 1", None)],
)
def test_the_node_keeps_to_the_devices_that_it_was_given(
    restriction: str | None, left: list[int] | None
) -> None:
    """CUDA_VISIBLE_DEVICES of the node itself; UUIDs are passed on as they are."""
    found = placement.visible([Device(index, GB) for index in range(3)], restriction)
    assert (None if found is None else [each.index for each in found]) == left
