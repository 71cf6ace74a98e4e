"""`make bench`: the node, llama-server, the Python example server and the bare decode loop.

All are started on loopback and idle while another is measured. They take turns scenario by
scenario, in alternating order, so that changes of the machine affect them equally; the results are
the ratios within a round. The model has random weights and is generated here; only the sdist is
downloaded. Bounded in time.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Final

import msgspec

from tests.bench import (
    client,
    contestants,
    figures,
    peers,
    random_gguf,
    scenarios,
    shadow_cost,
    startup,
    switches,
)
from tests.bench.scenarios import Scenario

CONTEXT_TOKENS: Final = 1280
WARM_TOKENS: Final = 16
SWITCHES: Final = 20
SHADOW_PAIRS: Final = 12
SHADOW_S: Final = 2.0

Results = dict[str, dict[str, list[figures.Figures]]]


async def served(
    server: contestants.Running, scenario: Scenario, prompts: list[list[str]]
) -> figures.Figures:
    """Warm the server up with one short request per client, then measure."""
    to = (server.model, server.headers)
    warming = [[f"Warming up. {one[0]}"] for one in prompts]
    await client.closed_loop(
        server.port, scenarios.requests(scenario, warming, *to, max_tokens=WARM_TOKENS)
    )
    asked = scenarios.requests(scenario, prompts, *to, max_tokens=scenario.max_tokens)
    before = time.process_time_ns()
    exchanges, wall_ns = await client.closed_loop(server.port, asked)
    used_ns = time.process_time_ns() - before
    answers = [client.read(exchange, scenario.max_tokens) for exchange in exchanges]
    gaps = [gap for answer in answers for gap in answer.gaps_us]
    each = len(prompts[0])
    timed = [a for at, a in enumerate(answers) if at % each >= min(scenario.timed_from, each - 1)]
    ttfts = [answer.ttft_us for answer in timed if answer.ttft_us is not None]
    latencies = [answer.latency_us for answer in answers]
    counted = [answer.prompt_tokens for answer in answers if answer.prompt_tokens is not None]
    return figures.Figures(
        tokens_per_s=sum(answer.tokens for answer in answers) / wall_ns * 1e9,
        ttft_p50=figures.quantile(ttfts, 0.5),
        ttft_p95=figures.quantile(ttfts, 0.95),
        gap_p50=figures.quantile(gaps, 0.5),
        gap_p95=figures.quantile(gaps, 0.95),
        gap_p99=figures.quantile(gaps, 0.99),
        latency_p50=figures.quantile(latencies, 0.5),
        latency_p95=figures.quantile(latencies, 0.95),
        prompt_tokens=figures.quantile(counted, 0.5),
        client_cpu=used_ns / wall_ns,
    )


def looped(
    loop: subprocess.Popen[bytes], scenario: Scenario, prompts: list[list[str]]
) -> figures.Figures:
    """The same prompts and number of tokens in the bare loop; gaps are its steps."""
    assert loop.stdin is not None
    assert loop.stdout is not None
    rounds = [list(each) for each in zip(*prompts, strict=True)]
    job = {"rounds": rounds, "max_tokens": scenario.max_tokens}
    loop.stdin.write(json.dumps(job).encode() + b"\n")
    loop.stdin.flush()
    done = json.loads(loop.stdout.readline())
    steps = [ns / 1000 for ns in done["steps_ns"]]
    return figures.Figures(
        tokens_per_s=done["tokens"] / done["wall_ns"] * 1e9,
        gap_p50=figures.quantile(steps, 0.5),
        gap_p95=figures.quantile(steps, 0.95),
        gap_p99=figures.quantile(steps, 0.99),
    )


async def compare(asked: argparse.Namespace, shape: contestants.Shape, work: Path) -> Results:
    """All scenarios on all servers, round by round, until the time limit."""
    if {"llama-server", "example server"} & set(asked.servers):
        peers.build()
    until = time.monotonic() + asked.minutes * 60
    results: Results = {}
    async with AsyncExitStack() as stack:
        servers = {
            name: await stack.enter_async_context(contestants.SERVERS[name](shape, work))
            for name in asked.servers
            if name != contestants.RAW
        }
        loop = stack.enter_context(contestants.raw_loop(shape, work))
        for number in range(asked.rounds):
            order = asked.servers if number % 2 == 0 else asked.servers[::-1]
            for index, scenario in enumerate(scenarios.SCENARIOS):
                if asked.only not in scenario.name:
                    continue
                if time.monotonic() > until:
                    print(f"reached the limit of {asked.minutes} minutes in round {number + 1}")
                    return results
                each = max(1, round(scenario.each * asked.scale))
                prompts = scenario.prompts(number, index, each)
                for name in order:
                    if name in servers:
                        seen = await served(servers[name], scenario, prompts)
                    elif scenario.temperature:
                        continue  # it only draws by argmax
                    else:
                        seen = looped(loop, scenario, prompts)
                    kept = results.setdefault(scenario.name, {one: [] for one in asked.servers})
                    kept[name].append(seen)
                    print(
                        f"round {number + 1}  {scenario.name:20} {name:15}"
                        f" {seen.tokens_per_s:7.0f} tok/s",
                        flush=True,
                    )
    return results


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parse the command line."""
    all_names = [*contestants.SERVERS, contestants.RAW]
    parser = argparse.ArgumentParser(prog="make bench ARGS=…", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the requests")
    parser.add_argument("--minutes", type=float, default=8.0, help="start nothing after this time")
    parser.add_argument("--only", default="", help="only scenarios whose name contains this")
    parser.add_argument("--servers", nargs="+", default=all_names, choices=all_names)
    parser.add_argument("--model", type=Path, help="a GGUF of your own instead of random weights")
    parser.add_argument("--gpu-layers", type=int, default=0)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--skip-edges", action="store_true", help="no start, idle and first paint")
    parser.add_argument("--skip-changes", action="store_true", help="no switches and no shadow")
    parser.add_argument("--out", type=Path, default=peers.ROOT / "bench-out")
    return parser.parse_args(arguments)


def random_model() -> Path:
    """A Llama of about 25M parameters with random weights, cached by the code that makes it."""
    made_by = hashlib.sha256(Path(random_gguf.__file__).read_bytes()).hexdigest()[:8]
    made = peers.cache() / f"random-25m-{made_by}.gguf"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        part = made.with_suffix(".part")
        random_gguf.write(part)
        part.replace(made)
    return made


async def changes(work: Path) -> dict[str, object]:
    """What changing a service costs its users: the switch of a split, the copies for a shadow."""
    switched = await switches.measure(work / "switches", switches=SWITCHES)
    print(switched.sentence)
    copied = await shadow_cost.measure(
        work / "shadow", pairs=SHADOW_PAIRS, seconds=SHADOW_S, apart=False
    )
    print(copied.sentence)
    return {"switches": asdict(switched), "shadow": asdict(copied)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print, and write the figures as JSON to bench-out/."""
    asked = parse(arguments)
    shape = contestants.Shape(
        model=(asked.model or random_model()).resolve(),
        sequences=max(scenario.clients for scenario in scenarios.SCENARIOS),
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
        print(figures.goals(results))
        report["scenarios"] = {
            scenario: {name: [asdict(each) for each in rounds] for name, rounds in servers.items()}
            for scenario, servers in results.items()
        }
        if not asked.skip_edges:
            report["edges"] = startup.measure(shape, Path(work))
        if not asked.skip_changes:
            report["changes"] = asyncio.run(changes(Path(work)))
    asked.out.mkdir(parents=True, exist_ok=True)
    written = asked.out / f"serve-{time.strftime('%Y%m%d-%H%M%S')}.json"
    written.write_text(json.dumps(report, indent=1, default=msgspec.to_builtins))
    print(f"figures: {written}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
