"""`python -m engine.serving`: load one model and serve it over a Unix socket.

Says on standard output how loading goes, that it is ready, and that it lives; logs go to standard
error. Exit 0 after draining, 3 when the file of the model cannot be loaded by anybody, 4 when it
cannot be loaded here and now.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its idle threads would take libllama's cores
# libllama's threads meet some hundred times a step. By default each spins for milliseconds for one
# that the kernel has put aside, and so keeps it aside; this long is enough on a core of one's own.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from engine.process import parent
from engine.process.reporting import Reports
from engine.serving import errors, llama, worker
from engine.serving.adapters import Adapters
from engine.serving.knobs import Knobs
from engine.serving.server_socket import Link

_BROKEN = 3
_NOT_NOW = 4


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engine.serving", description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="accepted, not needed")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--sha256", default="")
    parser.add_argument("--name", default="worker")
    parser.add_argument("--context-tokens", type=int, default=1024, help="per sequence")
    parser.add_argument("--max-sequences", type=int, default=16)
    parser.add_argument("--gpu-layers", type=int, default=-1, help="-1: all")
    parser.add_argument("--threads", type=int, default=0, help="0: all cores")
    parser.add_argument("--prefill-budget", type=int, default=256)
    return parser.parse_args()


class _Leave:
    """SIGTERM and SIGINT: before the loop it stops the load, in it it drains."""

    def __init__(self) -> None:
        self.asked = False
        self.worker: worker.Worker | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._heard)

    def _heard(self, _number: int, _frame: object) -> None:
        self.asked = True
        if self.worker is not None:
            self.worker.draining = True


def main() -> int:
    """Load, serve, drain."""
    parent.hold()
    arguments = _arguments()
    reports = Reports.take_stdout()
    leave = _Leave()
    said = -1

    def progress(fraction: float) -> bool:
        nonlocal said
        if int(fraction * 20) > said:
            said = int(fraction * 20)
            reports.say(loading=round(fraction, 3))
        return not leave.asked

    try:
        model = llama.Model(arguments.model, gpu_layers=arguments.gpu_layers, progress=progress)
        reports.say(loaded=True)
        adapters = Adapters(
            model,
            sequence_tokens=arguments.context_tokens,
            sequences=arguments.max_sequences,
            threads=arguments.threads,
        )
    except errors.EngineFault as fault:
        if leave.asked:
            return 0
        broken = isinstance(fault, errors.BROKEN)
        reports.say(failed=str(fault), broken=broken)
        return _BROKEN if broken else _NOT_NOW
    link = Link(arguments.socket)
    serving = worker.Worker(
        adapters,
        link,
        reports,
        sha256=arguments.sha256,
        build=llama.build(),
        sequence_tokens=arguments.context_tokens,
        sequences=arguments.max_sequences,
        knobs=Knobs().changed(
            {
                "max_running": arguments.max_sequences,
                "prefill_budget": arguments.prefill_budget,
            }
        ),
    )
    leave.worker = serving
    serving.draining = leave.asked
    signal.set_wakeup_fd(link.wake_descriptor())
    reports.say(ready=True, sha256=arguments.sha256, build=llama.build(), pid=os.getpid())
    serving.run()
    link.close()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # libllama's own tear-down is not worth waiting for
