"""`python -m engine.serving`: load one model and serve it over a Unix socket.

Reports on standard output how loading progresses, that it is ready, and heartbeats; logs go to
standard error. It is ready when its base has passed a probe. Exit 0 after draining, 3 when the
model file cannot be served anywhere, 4 when it cannot be loaded here and now.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import signal
import sys
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its idle threads would take libllama's cores
# libllama's threads meet some hundred times a step. By default each spins for milliseconds for one
# that the kernel has descheduled, and so keeps it off its core; this is enough on an idle core.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")

from engine.process import computing
from engine.process.computing import Computing
from engine.serving import device_filter, errors, loaded_file, worker
from engine.serving.adapters import Adapters, Failed, Loaded, Outcome, Unloaded
from engine.serving.cores import cores
from engine.serving.embedding import Embedder
from engine.serving.embedding_worker import EmbeddingWorker
from engine.serving.knobs import Knobs
from engine.serving.llama import devices, libllama
from engine.serving.llama.context import KV_CACHE_TYPES
from engine.serving.llama.model import Model
from engine.serving.llama.pooled_context import POOLINGS, PooledContext
from engine.serving.server_socket import ServerSocket
from storage.runtime import file_identity, parent
from storage.runtime.reporting import Reports

_BROKEN = 3
_NOT_NOW = 4


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m engine.serving", description=__doc__)
    parser.add_argument("--home", type=Path, default=None, help="accepted, not needed")
    parser.add_argument("--socket", type=Path, required=True)
    parser.add_argument(
        "--model",
        type=Path,
        action="append",
        required=True,
        help="the model file; the parts of a split one in their order",
    )
    parser.add_argument("--sha256", default="", help="what the model has to be")
    parser.add_argument("--name", default="worker")
    parser.add_argument("--context-tokens", type=int, default=1024, help="per sequence")
    parser.add_argument("--max-sequences", type=int, default=16)
    parser.add_argument("--gpu-layers", type=int, default=-1, help="-1: all")
    parser.add_argument(
        "--devices", default=None, help="comma-separated numbers or names (default: all)"
    )
    parser.add_argument(
        "--split",
        choices=tuple(devices.SPLITS),
        default="layer",
        help="how weights are spread over several devices; none: all on the first",
    )
    parser.add_argument("--threads", type=int, default=0, help="0: all cores that it may use")
    parser.add_argument(
        "--kv-cache-type",
        choices=tuple(KV_CACHE_TYPES),
        default="f16",
        help="how keys and values are stored",
    )
    parser.add_argument("--prefill-budget", type=int, default=256)
    parser.add_argument("--task", choices=("text", "embedding", "reranking"), default="text")
    parser.add_argument("--pooling", choices=tuple(POOLINGS), default="model")
    return parser.parse_args()


class _Signals:
    """SIGTERM and SIGINT: they stop the load, and drain a worker that serves."""

    def __init__(self) -> None:
        self.received = False
        self.worker: worker.Worker | EmbeddingWorker | None = None
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._receive)

    def _receive(self, _number: int, _frame: object) -> None:
        self.received = True
        if self.worker is not None:
            self.worker.draining = True


class _AdapterReports:
    """Tells the node which adapter is being loaded, before libllama may abort on it."""

    def __init__(self, reports: Reports) -> None:
        self._reports = reports
        self.socket: ServerSocket | None = None

    def started(self, adapter: str) -> None:
        self._reports.say(loading_adapter=adapter)

    def ended(self, outcome: Outcome) -> None:
        match outcome:
            case Loaded():
                self._reports.say(adapter_loaded=outcome.adapter, sha256=outcome.sha256)
            case Failed():
                self._reports.say(
                    adapter_failed=outcome.adapter, failed=outcome.reason, broken=outcome.broken
                )
            case Unloaded():
                self._reports.say(adapter_unloaded=outcome.adapter)
        if self.socket is not None:
            self.socket.wake()


def _adapters(
    arguments: argparse.Namespace, model: Model, adapter_reports: _AdapterReports
) -> Adapters:
    return Adapters(
        model,
        sequence_tokens=arguments.context_tokens,
        sequences=arguments.max_sequences,
        threads=arguments.threads or cores(),
        kv_cache_type=arguments.kv_cache_type,
        on_load=adapter_reports.started,
        on_done=adapter_reports.ended,
    )


def _embedder(arguments: argparse.Namespace, model: Model) -> Embedder:
    """The whole of a step is computed at once, and a whole input has to fit it."""
    context = PooledContext(
        model,
        room=max(arguments.context_tokens, arguments.prefill_budget),
        sequences=arguments.max_sequences,
        threads=arguments.threads or cores(),
        pooling=arguments.pooling,
    )
    if context.ranks is not (arguments.task == "reranking"):
        raise errors.ModelBroken(
            f"the model pools by {context.pooling}, which is not {arguments.task}; create a "
            "release with another --pooling"
        )
    return Embedder(model, context, arguments.context_tokens)


def main() -> int:
    """Load, serve, drain."""
    parent.hold()
    arguments = _arguments()
    embeds = arguments.task != "text"
    reports = Reports.take_stdout()
    signals = _Signals()
    adapter_reports = _AdapterReports(reports)
    reported = -1

    def progress(fraction: float) -> bool:
        nonlocal reported
        if int(fraction * 20) > reported:
            reported = int(fraction * 20)
            reports.say(loading=round(fraction, 3))
        return not signals.received

    try:
        before = loaded_file.look(arguments.model)
        model = Model(
            *arguments.model,
            gpu_layers=arguments.gpu_layers,
            on=None if arguments.devices is None else arguments.devices.split(","),
            split=arguments.split,
            progress=progress,
            embeds=embeds,
        )
        sha256, how = loaded_file.prove(
            arguments.model,
            arguments.sha256,
            before=before,
            verified=file_identity.from_environment(),
        )
        reports.say(loaded=True)
        made = (
            _embedder(arguments, model) if embeds else _adapters(arguments, model, adapter_reports)
        )
        reports.say(probing=True)
        made.prove()
        reports.say(loaded=True)
        filter_pays = isinstance(made, Adapters) and device_filter.pays(
            made, arguments.max_sequences, device_filter.beside(arguments.socket)
        )
    except errors.EngineFault as fault:
        if signals.received:
            return 0
        broken = isinstance(fault, errors.BROKEN)
        reports.say(failed=str(fault), broken=broken)
        return _BROKEN if broken else _NOT_NOW
    socket = adapter_reports.socket = ServerSocket(arguments.socket)
    knobs = Knobs().changed(
        {"max_running": arguments.max_sequences, "prefill_budget": arguments.prefill_budget}
    )
    serving: worker.Worker | EmbeddingWorker
    if isinstance(made, Embedder):
        serving = EmbeddingWorker(
            model,
            made,
            socket,
            reports,
            sha256=sha256,
            build=libllama.build(),
            sequences=arguments.max_sequences,
            knobs=knobs,
        )
    else:
        serving = worker.Worker(
            made,
            socket,
            reports,
            sha256=sha256,
            build=libllama.build(),
            sequence_tokens=arguments.context_tokens,
            sequences=arguments.max_sequences,
            knobs=knobs,
            computing=Computing(computing.beside(arguments.socket)),
            filter_pays=filter_pays,
        )
    signals.worker = serving
    serving.draining = signals.received
    signal.set_wakeup_fd(socket.wake_descriptor())
    reports.say(
        ready=True,
        sha256=sha256,
        how=how,
        template=hashlib.sha256(model.chat_template.encode()).hexdigest()
        if model.chat_template
        else "",
        build=libllama.build(),
        pid=os.getpid(),
    )
    serving.run()
    socket.close()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # skips libllama's own tear-down, which only costs time
