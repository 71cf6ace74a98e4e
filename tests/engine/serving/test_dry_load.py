"""What a load takes is known before it: within a tenth of the resident memory of a real one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gguf
import pytest

from engine.node import memory_estimate
from engine.registry import dry_load, gguf_header
from engine.registry.dry_load import Unmeasured
from storage.models import Kind, ModelVersion, Status
from storage.releases import Engine
from tests.engine.serving import shaped_gguf
from tests.engine.serving.shaped_gguf import Shape
from tests.home_fixtures import WEIGHTS

WIDE = Shape(vocabulary=16_000, width=512, layers=6, heads=8, kv_heads=2, feed_forward=1536)
PACKED = Shape(4096, 768, 6, 12, 4, 2048, gguf.GGMLQuantizationType.Q4_0)
DEEP = Shape(2048, 512, 16, 8, 8, 1024, gguf.GGMLQuantizationType.Q8_0)


def resident(path: Path, engine: Engine) -> int:
    """Bytes of a process that has loaded the file and computed a full batch."""
    module = "tests.engine.serving.resident"
    settings = (str(engine.context_tokens), str(engine.max_sequences))
    done = subprocess.run(
        [sys.executable, "-m", module, str(path), *settings],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return int(done.stdout)


@pytest.mark.parametrize(
    ("shape", "context_tokens", "max_sequences"),
    [(None, 1024, 16), (WIDE, 4096, 4), (PACKED, 512, 8), (DEEP, 2048, 2)],
)
async def test_the_estimate_is_within_a_tenth_of_a_load(
    tmp_path: Path, shape: Shape | None, context_tokens: int, max_sequences: int
) -> None:
    """For settings that are none of those that the dry load measured."""
    path = WEIGHTS if shape is None else shaped_gguf.write(tmp_path / "a.gguf", shape)
    header = gguf_header.read(path)
    version = ModelVersion(
        id=1, model="x", version="1.0.0", kind=Kind.WEIGHTS, base_id=None, path=str(path),
        sha256="", size_bytes=path.stat().st_size, mtime_ns=1, architecture=header.architecture,
        parameters=1, quantisation="", context_tokens=header.context_tokens, licence=None,
        status=Status.REGISTERED, status_reason=None, created_at_us=1, created_by="t",
        memory=await dry_load.measure(path),
    )  # fmt: skip
    engine = Engine(context_tokens=context_tokens, max_sequences=max_sequences)
    estimate = memory_estimate.of(version, engine, on_gpu=False)
    assert estimate.more_bytes(0, 1) == pytest.approx(resident(path, engine), rel=0.1)
    tokens = context_tokens * max_sequences
    assert estimate.cache_bytes == tokens * (header.kv_bytes_per_token or 0)


async def test_a_file_that_is_no_model_is_not_measured(tmp_path: Path) -> None:
    """Nor is one on which libllama aborts: the process is its own."""
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF")
    with pytest.raises(Unmeasured, match="did not load it"):
        await dry_load.measure(path)
