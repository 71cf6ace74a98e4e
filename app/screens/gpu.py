"""The cards of the box, and the machine around them; a box without any is a normal box.

Below the list what one card does: clocks, why it is slowed, errors, processes. Imported by
`app.screens.places`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

from app import snapshot, words
from app.screens.listed import LISTED, Listed
from app.snapshot.gpus import GpuCard, GpuProcess
from app.widgets import machine, palette
from app.widgets.palette import Line, Piece
from app.widgets.table import Column, Row

_LOW: Final = 30
_PROCESSES: Final = 4  # of a card, on a small terminal
_XIDS: Final = 4

COLUMNS: Final = (
    Column(title="GPU", width=3, right=True),
    Column(title="NAME", width=16, rank=1, most=30),
    Column(title="BUSY", width=5, right=True),
    Column(title="MEMORY", width=15, right=True),
    Column(title="POWER", width=11, right=True),
    Column(title="TEMP", width=6, right=True),
    Column(title="STATE", width=11, most=40),
)


def row(card: GpuCard) -> Row:
    """One card."""
    gpu = card.gpu
    state, ink = trouble(card)
    cells: tuple[Piece, ...] = (
        (str(gpu.index), "bold"),
        (gpu.name.removeprefix("NVIDIA "), ""),
        (machine.share(gpu.utilisation).strip(), "bold"),
        (machine.taken(gpu.memory_used, gpu.memory_total), ""),
        (f"{words.watts(gpu.power_mw)}/{words.watts(gpu.power_limit_mw)} W", ""),
        (f"{words.whole(gpu.temperature_c)} °C", ""),
        (state, ink),
    )
    return Row(str(gpu.index), cells)


def trouble(card: GpuCard) -> tuple[str, str]:
    """The worst that is known of a card, in a few words, and its ink."""
    if card.xids:
        return f"▲ Xid {card.xids[0][1]}", "bad"
    if card.ecc_uncorrected:
        return f"▲ ECC {card.ecc_uncorrected}", "bad"
    if card.gpu.throttle:
        return f"▲ {', '.join(card.gpu.throttle)}", "warn"
    return "ok", "good"


def detail(card: GpuCard, width: int, most: int) -> list[Line]:
    """All that is known of one card."""
    gpu = card.gpu
    spread = ""
    if card.lowest is not None and card.peak is not None:
        spread = f"  {card.lowest * 100:.0f}–{card.peak * 100:.0f} % in 15 min"
    clock = f"{words.whole(card.clock_mhz)} of {words.whole(card.clock_max_mhz)} MHz"
    memory = f"memory {words.whole(card.memory_clock_mhz)} MHz"
    full = gpu.memory_used / gpu.memory_total if gpu.memory_total else None
    draws = None
    if gpu.power_mw is not None and gpu.power_limit_mw:
        draws = gpu.power_mw / gpu.power_limit_mw
    rows: list[Line] = [
        palette.rule(width, f"GPU {gpu.index}  {gpu.name}"),
        _gauged("busy", gpu.utilisation, f"{machine.share(gpu.utilisation).strip()}{spread}"),
        _gauged("memory", full, machine.taken(gpu.memory_used, gpu.memory_total)),
        _gauged(
            "power", draws, f"{words.watts(gpu.power_mw)} of {words.watts(gpu.power_limit_mw)} W"
        ),
        _named("clocks", f"{clock}   {memory}", ""),
        _named("slowed by", ", ".join(gpu.throttle) or "nothing", "warn" if gpu.throttle else ""),
        _errors(card),
        *_processes(card.processes, most),
    ]
    return [palette.cut(each, width) for each in rows]


def _gauged(name: str, share: float | None, text: str) -> Line:
    return ((f" {name:<10} ", "dim"), *machine.gauge(share, 20), (f" {text}", ""))


def _named(name: str, text: str, ink: str) -> Line:
    return ((f" {name:<10} ", "dim"), (text, ink))


def _errors(card: GpuCard) -> Line:
    """Xids of the last quarter of an hour, and memory errors since the driver was loaded."""
    if card.xids is None:
        xids = f"Xid {words.UNKNOWN}"
    elif not card.xids:
        xids = "no Xid in 15 min"
    else:
        xids = "Xid " + ", ".join(
            f"{xid} at {words.clock(at_us)[11:19]}Z" for at_us, xid in card.xids[:_XIDS]
        )
    ecc = f"uncorrected ECC {words.whole(card.ecc_uncorrected)}"
    bad = bool(card.xids or card.ecc_uncorrected)
    return _named("errors", f"{'▲ ' * bad}{xids}   {ecc}", "bad" if bad else "")


def _processes(known: tuple[GpuProcess, ...] | None, most: int) -> list[Line]:
    """Those with most memory first."""
    if not known:
        return [_named("processes", words.UNKNOWN if known is None else "none", "")]
    rows = [
        _named(
            "" if at else "processes",
            f"{words.pad(words.size(each.memory), 8, right=True)}  pid {each.pid:<8} "
            f"{words.safe(each.name) or 'not of this node'}",
            "" if each.name else "dim",
        )
        for at, each in enumerate(known[:most])
    ]
    if (left := len(known) - most) > 0:
        rows.append(_named("", f"… {words.counted(left, 'more process', 'more processes')}", "dim"))
    return rows


class Gpu(Listed):
    """The cards."""

    where: ClassVar[str] = "gpu"
    acts: ClassVar = LISTED
    heading: ClassVar[str] = "GPUS"

    def __init__(self) -> None:
        super().__init__()
        self._seen = snapshot.Gpus(cards=(), machine=snapshot.Machine())

    def take(self, current: snapshot.Snapshot) -> bool:
        """The cards."""
        if current.gpu is None:
            return False
        self._seen = current.gpu
        return True

    def columns(self) -> Sequence[Column]:
        """How busy, full, hot and well each is."""
        return COLUMNS

    def rows(self) -> Sequence[Row]:
        """One for each card."""
        return [row(each) for each in self._seen.cards]

    def caption(self) -> str:
        """How many there are."""
        return words.counted(len(self._seen.cards), "card") if self._seen.cards else "none"

    def empty(self) -> str:
        """A box without a GPU, or one that cannot be asked."""
        if self._seen.machine.driver:
            return (
                "no GPU: NVML is silent; `nvidia-smi` on this box says whether the driver answers"
            )
        return "no GPU: driver not found; models compute on the CPU"

    def detail(self, width: int) -> list[Line]:
        """The card under the cursor, then the machine."""
        most = _PROCESSES if self.size.height < _LOW else 4 * _PROCESSES
        found = next(
            (each for each in self._seen.cards if str(each.gpu.index) == self.cursor), None
        )
        rows = [] if found is None else detail(found, width, most)
        return [*rows, palette.rule(width, "HOST"), machine.host(self._seen.machine, width)]
