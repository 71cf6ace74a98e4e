"""`python -m tests.fuzz TARGET --seconds N`: atheris searches for bytes that a reader chokes on.

It begins with sound inputs and the known cases, and keeps what reached new code in `--corpus`. A
finding ends the run: its bytes are in `crash-…` of the working directory; move them to
`cases/TARGET/`.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import atheris  # type: ignore[import-not-found,import-untyped,unused-ignore]

with atheris.instrument_imports(include=["engine", "storage", "gguf"]):
    from tests.fuzz import seeds, targets

CASES = Path(__file__).parent / "cases"


def main() -> None:
    """Search in one target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", choices=sorted(targets.TARGETS))
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--corpus", type=Path)
    given = parser.parse_args()
    known = CASES / given.target
    corpus = given.corpus or Path(tempfile.mkdtemp(prefix="paddock-fuzz-"))
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds.of(given.target)):
        (corpus / f"seed-{number}").write_bytes(seed)
    folders = [str(each) for each in (corpus, known) if each.is_dir()]
    limits = [f"-max_total_time={given.seconds}", "-rss_limit_mb=2048", "-timeout=10"]
    atheris.Setup([sys.argv[0], *limits, *folders], targets.TARGETS[given.target])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
