"""A release may name the devices that its weights are put on."""

from __future__ import annotations

import pytest

from engine.serving import errors
from engine.serving.llama import devices
from engine.serving.llama.devices import Device

TWO = (Device(0, "CUDA0", 1), Device(1, "CUDA1", 2))


@pytest.mark.parametrize(
    ("wanted", "chosen"),
    [("1", [1]), ("1,0", [1, 0]), ("CUDA1", [1]), ("cuda0, 1", [0, 1])],
)
def test_devices_are_chosen_by_number_or_name(wanted: str, chosen: list[int]) -> None:
    """In the order given: the first holds what is not split."""
    assert [device.index for device in devices.choose(wanted.split(","), TWO)] == chosen


@pytest.mark.parametrize(
    ("wanted", "there", "message"),
    [
        ("3", TWO, "device 3 is not there; this machine has 0, 1"),
        ("0,ROCm0", TWO, "device ROCm0 is not there; this machine has 0, 1"),
        ("0", (), "device 0 is not there; this machine has none"),
        ("", TWO, "device '' is not there; this machine has 0, 1"),
        ("1,CUDA1", TWO, "device CUDA1 is given twice"),
    ],
)
def test_a_device_that_is_not_there_is_named(
    wanted: str, there: tuple[Device, ...], message: str
) -> None:
    """With those that are."""
    with pytest.raises(errors.DeviceMissing) as caught:
        devices.choose(wanted.split(","), there)
    assert str(caught.value) == message
