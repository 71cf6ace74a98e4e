"""What a load takes is known before it: within a tenth of the resident memory of a real worker."""

from __future__ import annotations

from pathlib import Path

import gguf
import psutil
import pytest

from engine.node import memory_estimate
from engine.registry import dry_load, gguf_header
from engine.registry.dry_load import Unmeasured
from engine.serving.llama.context import KV_CACHE_TYPES, UBATCH
from storage import release_content
from storage.models import Kind, ModelVersion, Status
from storage.releases import Engine
from tests.engine.serving import shaped_gguf, workers
from tests.engine.serving.shaped_gguf import Shape
from tests.home_fixtures import WEIGHTS

WIDE = Shape(vocabulary=16_000, width=512, layers=6, heads=8, kv_heads=2, feed_forward=1536)
PACKED = Shape(4096, 768, 6, 12, 4, 2048, gguf.GGMLQuantizationType.Q4_0)
DEEP = Shape(2048, 512, 16, 8, 8, 1024, gguf.GGMLQuantizationType.Q8_0)
ODD = Shape(vocabulary=512, width=48, layers=1, heads=2, kv_heads=2, feed_forward=64)

pytestmark = pytest.mark.usefixtures("cold_starts")  # no libraries are shared with a fork

CASES = [
    (None, Engine(context_tokens=1024, max_sequences=16), 1),
    (WIDE, Engine(context_tokens=4096, max_sequences=4, kv_cache_type="q8_0"), 0),
    (PACKED, Engine(context_tokens=512, max_sequences=8), 0),
    (DEEP, Engine(context_tokens=2048, max_sequences=6, kv_cache_type="q4_0"), 0),
]


async def measured(path: Path) -> ModelVersion:
    """A file as a version whose memory was measured when it was added."""
    header = gguf_header.read(path)
    return ModelVersion(
        id=1, model="x", version="1.0.0", kind=Kind.WEIGHTS, base_id=None, path=str(path),
        sha256="", size_bytes=path.stat().st_size, mtime_ns=1, architecture=header.architecture,
        parameters=1, quantisation="", context_tokens=header.context_tokens, licence=None,
        status=Status.REGISTERED, status_reason=None, created_at_us=1, created_by="t",
        memory=await dry_load.measure(path),
    )  # fmt: skip


async def resident(socket: Path, path: Path, engine: Engine, adapters: int) -> int:
    """Bytes of a worker that has loaded the file and the adapters, and computed full batches."""
    with workers.running(
        socket,
        model=path,
        sequences=engine.max_sequences,
        context_tokens=engine.context_tokens,
        kv_cache_type=engine.kv_cache_type,
    ) as worker:
        async with workers.connected(socket) as gateway:
            gateway.client.want_knobs({"prefill_ms": 0, "prefill_budget": 8192})
            names = ["", "lora"][: 1 + adapters]
            gateway.client.want_adapters({"lora": workers.lora()} if adapters else {})
            prompt = "x" * (UBATCH - 1)
            asked = [workers.order(prompt, adapter=name, max_tokens=1) for name in names]
            await gateway.together(asked)
        return int(psutil.Process(worker.pid).memory_info().rss)


@pytest.mark.parametrize(("shape", "engine", "adapters"), CASES)
async def test_the_estimate_is_within_a_tenth_of_a_worker(
    tmp_path: Path, shape: Shape | None, engine: Engine, adapters: int
) -> None:
    """For settings that are none of those that the dry load measured."""
    path = WEIGHTS if shape is None else shaped_gguf.write(tmp_path / "a.gguf", shape)
    version = await measured(path)
    estimate = memory_estimate.of(version, engine, on_gpu=False, adapters=adapters)
    taken = await resident(tmp_path / "s", path, engine, adapters)
    assert estimate.more_bytes(0, 1) == pytest.approx(taken, rel=0.1)


async def test_a_quantised_kv_cache_takes_its_share(tmp_path: Path) -> None:
    """Blocks of 32 numbers: 34 bytes of q8_0, 18 of q4_0, against 64 of f16."""
    path = shaped_gguf.write(tmp_path / "a.gguf", WIDE)
    memory = (await measured(path)).memory
    assert memory is not None
    plain, _ = memory.context_bytes(4096, 4)
    assert plain == 4096 * 4 * (gguf_header.read(path).kv_bytes_per_token or 0)
    for kind, share in (("q8_0", 34 / 64), ("q4_0", 18 / 64)):
        assert memory.context_bytes(4096, 4, kind)[0] == pytest.approx(plain * share, rel=0.001)


async def test_heads_that_do_not_divide_into_blocks_have_no_quantised_cache(
    tmp_path: Path,
) -> None:
    """Found when the model is added, with libllama's reason, not when a worker fails to load."""
    memory = (await measured(shaped_gguf.write(tmp_path / "a.gguf", ODD))).memory
    assert memory is not None
    assert memory.kv_cache_types == {"f16"}
    assert memory.impossible.keys() == {"q8_0", "q4_0"}
    assert "block size 32 does not divide" in memory.impossible["q8_0"]


def test_the_worker_knows_the_types_that_a_release_may_name() -> None:
    """One list for people, one with the numbers of libllama."""
    assert tuple(KV_CACHE_TYPES) == release_content.KV_CACHE_TYPES


async def test_a_file_that_is_no_model_is_not_measured(tmp_path: Path) -> None:
    """Nor is one on which libllama aborts: the process is its own."""
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(Unmeasured, match="did not load it"):
        await dry_load.measure(path)
