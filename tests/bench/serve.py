"""`make bench`: the node beside llama-server and the Python example server, in one run.

Each server is started on loopback in turn, A B C A B C, so that a machine that grows warm or busy
meets them all; every figure is the median over the rounds, and what counts are the ratios. The
model has random weights and is made here, nothing is downloaded but the sdist. Bounded in time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tests.bench import client, contestants, edges, figures, peers, random_gguf

WORDS: Final = 60
CONTEXT_TOKENS: Final = 512


@dataclass(frozen=True, slots=True)
class Scenario:
    """So many clients, each sending `each` requests one after another."""

    name: str
    clients: int
    each: int
    max_tokens: int
    stream: bool
    temperature: float


SCENARIOS: Final = (
    Scenario("decode, 1 stream", 1, 24, 96, stream=True, temperature=0.0),
    Scenario("decode, 4 streams", 4, 10, 96, stream=True, temperature=0.0),
    Scenario("decode, 16 streams", 16, 3, 96, stream=True, temperature=0.0),
    Scenario("decode, 16 clients", 16, 3, 96, stream=False, temperature=0.0),
    Scenario("sampled, 16 streams", 16, 3, 96, stream=True, temperature=0.8),
)


def prompt(number: int) -> str:
    """About 110 tokens of text that share no beginning with any other prompt's."""
    words = (f"{(number * 7919 + place * 104729) % 9973}" for place in range(WORDS // 2))
    return f"Report {number} of the shift: " + " ".join(words)


def requests(
    server: contestants.Running, scenario: Scenario, first: int, each: int
) -> list[list[bytes]]:
    """What every client of a scenario sends."""
    headers = {**server.headers, "accept": "text/event-stream" if scenario.stream else "*/*"}
    return [
        [
            client.request(
                "/v1/completions",
                headers,
                {
                    "model": server.model,
                    "prompt": prompt(first + one * each + number),
                    "max_tokens": scenario.max_tokens,
                    "temperature": scenario.temperature,
                    "top_p": 0.95,
                    "seed": 1 + number,
                    "stream": scenario.stream,
                },
            )
            for number in range(each)
        ]
        for one in range(scenario.clients)
    ]


async def measure(
    server: contestants.Running, scenario: Scenario, scale: float, first: int
) -> figures.Figures:
    """Warms the server up with one request per client, then measures."""
    await client.closed_loop(server.port, requests(server, scenario, first, 1))
    each = max(1, round(scenario.each * scale))
    asked = requests(server, scenario, first + scenario.clients, each)
    before = time.process_time_ns()
    exchanges, wall_ns = await client.closed_loop(server.port, asked)
    used_ns = time.process_time_ns() - before
    answers = [client.read(exchange, scenario.max_tokens) for exchange in exchanges]
    gaps = [gap for answer in answers for gap in answer.gaps_us]
    ttfts = [answer.ttft_us for answer in answers if answer.ttft_us is not None]
    latencies = [answer.latency_us for answer in answers]
    prompts = [answer.prompt_tokens for answer in answers if answer.prompt_tokens is not None]
    return figures.Figures(
        tokens_per_s=sum(answer.tokens for answer in answers) / wall_ns * 1e9,
        ttft_p50=figures.quantile(ttfts, 0.5),
        ttft_p95=figures.quantile(ttfts, 0.95),
        gap_p50=figures.quantile(gaps, 0.5),
        gap_p95=figures.quantile(gaps, 0.95),
        gap_p99=figures.quantile(gaps, 0.99),
        latency_p50=figures.quantile(latencies, 0.5) or 0,
        latency_p95=figures.quantile(latencies, 0.95) or 0,
        prompt_tokens=figures.quantile(prompts, 0.5),
        client_cpu=used_ns / wall_ns,
    )


async def compare(
    asked: argparse.Namespace, shape: contestants.Shape, work: Path
) -> dict[str, dict[str, list[figures.Figures]]]:
    """All scenarios at all servers, round by round; stops early when the time is up."""
    built = peers.build() if set(asked.servers) - {"paddock"} else None
    until = time.monotonic() + asked.minutes * 60
    results: dict[str, dict[str, list[figures.Figures]]] = {}
    for number in range(asked.rounds):
        for name in asked.servers:
            if time.monotonic() > until:
                print(f"the {asked.minutes} minutes are over after {number} rounds")
                return results
            place = work / f"{number}-{name.replace(' ', '-')}"
            place.mkdir()
            async with contestants.CONTESTANTS[name](built, shape, place) as server:
                for index, scenario in enumerate(SCENARIOS):
                    if asked.only not in scenario.name:
                        continue
                    seen = await measure(server, scenario, asked.scale, index * 10_000)
                    results.setdefault(scenario.name, {}).setdefault(name, []).append(seen)
                    print(
                        f"round {number + 1}  {name:15} {scenario.name:20}"
                        f" {seen.tokens_per_s:7.0f} tok/s",
                        flush=True,
                    )
    return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The flags; every one shortens the run or narrows it."""
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the requests")
    parser.add_argument("--minutes", type=float, default=8.0, help="start no server after these")
    parser.add_argument("--only", default="", help="scenarios whose name holds this")
    parser.add_argument(
        "--servers", nargs="+", default=list(contestants.CONTESTANTS),
        choices=list(contestants.CONTESTANTS),
    )  # fmt: skip
    parser.add_argument("--model", type=Path, help="a GGUF of your own instead of random weights")
    parser.add_argument("--gpu-layers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--skip-edges", action="store_true", help="no start, idle and first paint")
    parser.add_argument("--out", type=Path, default=peers.ROOT / "bench-out")
    return parser.parse_args(arguments)


def random_model() -> Path:
    """A Llama of about 30M parameters with random weights, made once."""
    made = peers.cache() / f"random-{random_gguf.VERSION}.gguf"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(".part")
        random_gguf.make(part)
        part.replace(made)
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and leaves the figures as JSON in bench-out/."""
    asked = parse(arguments)
    shape = contestants.Shape(
        model=(asked.model or random_model()).resolve(),
        sequences=max(scenario.clients for scenario in SCENARIOS),
        context_tokens=CONTEXT_TOKENS,
        threads=asked.threads,
        gpu_layers=asked.gpu_layers,
    )
    report: dict[str, object] = {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "model": shape.model.name,
        "load_before": os.getloadavg()[0],
    }
    print(f"{report['machine']}, model {report['model']}, load {report['load_before']:.1f}")
    with tempfile.TemporaryDirectory(prefix="paddock-bench-") as work:
        results = asyncio.run(compare(asked, shape, Path(work)))
        print(figures.table(results))
        report["scenarios"] = {
            scenario: {name: [asdict(each) for each in rounds] for name, rounds in servers.items()}
            for scenario, servers in results.items()
        }
        if not asked.skip_edges:
            report["edges"] = edges.measure(shape, Path(work))
    asked.out.mkdir(parents=True, exist_ok=True)
    written = asked.out / f"serve-{time.strftime('%Y%m%d-%H%M%S')}.json"
    written.write_text(json.dumps(report, indent=1))
    print(f"figures: {written}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
