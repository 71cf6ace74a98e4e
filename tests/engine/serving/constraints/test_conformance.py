"""The public suite of JSON Schema, answered by a real worker with a model of random weights."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest

from engine.serving import wire
from engine.serving.constraints import check
from tests.bench import peers, random_gguf
from tests.engine.serving import workers

PACKAGE: Final = "jsonschema"
DRAFT: Final = "draft2020-12"
SEEDS: Final = 4
TOKENS: Final = 800


@pytest.fixture(scope="module")
def suite() -> Path:
    """JSON Schema's own tests, which the sdist of `jsonschema` ships; fetched once."""
    home = peers.cache() / "json-schema"
    if not (found := [*home.glob("jsonschema-*/json/tests")]):
        home.mkdir(parents=True, exist_ok=True)
        locked = (Path(__file__).parents[4] / "constraints.txt").read_text()
        pinned = re.search(rf"^{PACKAGE}==(?:.*\\\n)*.*", locked, re.MULTILINE)
        assert pinned is not None
        (home / "sdist.txt").write_text(pinned[0] + "\n")
        command = [
            *(sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes"),
            *("--no-binary", PACKAGE, "-d", str(home), "-r", str(home / "sdist.txt")),
        ]
        subprocess.run(command, check=True)
        with tarfile.open(next(home.glob("jsonschema-*.tar.gz"))) as sdist:
            sdist.extractall(home, filter="data")
        found = [*home.glob("jsonschema-*/json/tests")]
    return found[0] / DRAFT


def schemas(suite: Path) -> dict[str, Any]:
    """Every schema of the suite by its name; numbers are exact."""
    found = {}
    for file in sorted(suite.glob("*.json")):
        for case in json.loads(file.read_text()):
            found[f"{file.stem}: {case['description']}"] = case["schema"]
    return found


def exact(text: str) -> Any:
    """JSON with exact fractions: 0.3 is a multiple of 0.1."""
    return json.loads(text, parse_float=Decimal)


@pytest.mark.soak
async def test_what_is_accepted_gives_valid_documents_and_the_rest_is_refused_at_once(
    suite: Path, tmp_path: Path
) -> None:
    """At temperature 1: of complete answers, all are valid; nothing is refused on the way."""
    model, socket = tmp_path / "random.gguf", tmp_path / "worker.sock"
    random_gguf.write(
        model, vocabulary=320, width=64, layers=1, heads=2, kv_heads=1, forward=64, context=1024
    )
    tokens, refused, submits = check.usual(), dict[str, str](), list[tuple[str, Any]]()
    found = schemas(suite)
    for name, schema in found.items():
        constraint = wire.Constraint("json_schema", json.dumps(schema))
        reason = check.fault(constraint, tokens)
        if reason is not None:
            refused[name] = reason
            continue
        submits += [
            (name, workers.order("x", constraint=constraint, temperature=1.0, seed=seed,
                                 max_tokens=TOKENS))
            for seed in range(SEEDS)
        ]  # fmt: skip
    complete, wrong = 0, list[tuple[str, str, str]]()
    with workers.running(socket, model=model, context_tokens=1024):
        async with workers.connected(socket) as gateway:
            for first in range(0, len(submits), 64):
                part = submits[first : first + 64]
                many = [(name, gateway.ask(submit)) for name, submit in part]
                for name, heard in many:
                    if (await heard.finish()).reason != "stop":
                        continue
                    complete += 1
                    try:
                        document = exact(heard.text)
                        schema = exact(json.dumps(found[name]))
                        jsonschema.Draft202012Validator(schema).validate(document)
                    except (ValueError, jsonschema.ValidationError) as error:
                        wrong.append((name, heard.text, str(error)[:200]))
    assert wrong == []
    assert complete > len(submits) / 2
    assert len(refused) < len(found) * 0.6
    assert all(refused.values())
