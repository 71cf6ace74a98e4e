"""`python -m tests.fuzz.requests`: schemathesis sends what the OpenAPI document allows, and worse.

Starts a box and runs the `schemathesis` command against its gateway (`pip install schemathesis`);
what is given after `--` goes to that command. A finding is a status of 500 or more, a broken
connection, or an answer that the document does not describe. Exits as schemathesis does.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec
from gguf import PoolingType

from tests.acceptance.attacks.box import attacked
from tests.engine.node.nodes import RealNode
from tests.engine.serving import tiny_gguf
from tests.watchdogs import Watchdog

CHECKS: Final = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
ENCODERS: Final = {
    "Embeddings": ["vectors"], "Embedded": ["vectors"], "Rerank": ["ranks"], "Ranked": ["ranks"],
}  # fmt: skip
"""The services of the bodies and answers that are not of text."""
UNREADY: Final = """
[[operations]]
include-name = "GET /readyz"
checks.not_a_server_error.expected-statuses = ["2xx", "4xx", 503]
"""
"""A box whose upstream is gone says that it is not ready, as its document describes."""


def described(url: str) -> dict[str, Any]:
    """The box's OpenAPI document, with the services that there are as the only models.

    Nearly every request would name a model that does not exist otherwise.
    """
    document: dict[str, Any] = httpx.get(f"{url}/openapi.json").raise_for_status().json()
    for name, schema in document["components"]["schemas"].items():
        if "model" in schema.get("properties", {}):
            schema["properties"]["model"] = {"enum": ENCODERS.get(name, ["ops", "concise"])}
    return document


async def add_encoders(node: RealNode, folder: Path) -> None:
    """A service that makes vectors, and one that ranks."""
    for name, pooling in (("vectors", PoolingType.MEAN), ("ranks", PoolingType.RANK)):
        file = folder / f"{name}.gguf"
        tiny_gguf.bert(file, context=256, pooling=pooling)
        await node.must("services.create", name, {"release": await node.release(name, file)})


async def main(program: Path, examples: int, workers: int, more: list[str]) -> int:
    """Start the box, run the command, stop the box."""
    with tempfile.TemporaryDirectory() as folder:
        async with attacked(Path(folder) / "home") as (node, target, _):
            await add_encoders(node, Path(folder))
            url = f"http://127.0.0.1:{target.port}"
            document = Path(folder) / "openapi.json"
            document.write_bytes(msgspec.json.encode(described(url)))
            config = Path(folder) / "schemathesis.toml"
            config.write_text(UNREADY)
            command = [
                str(program), "--config-file", str(config), "run",
                str(document), "--url", url,
                "--header", f"Authorization: Bearer {target.key}",
                "--checks", ",".join(CHECKS), "--max-examples", str(examples),
                "--workers", str(workers),
                "--request-timeout", "60", *more,
            ]  # fmt: skip
            process = await asyncio.create_subprocess_exec(*command, cwd=folder)
            watchdog = Watchdog(process.pid)
            try:
                return await process.wait()
            finally:
                watchdog.release()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--program", type=Path, default=Path(sys.executable).with_name("schemathesis")
    )
    parser.add_argument("--examples", type=int, default=1500, help="of each operation")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("more", nargs="*")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.program, given.examples, given.workers, given.more)))
