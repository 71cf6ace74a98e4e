"""`python -m engine.serving.constraints.check PARENT SECONDS`: tries constraints, or dies of one.

Reads one encoded constraint a line from standard input and answers with a line: why it cannot be
held, or null. Besides compiling it, it walks some way into the text, because much of the work is
only done there. A vocabulary of single bytes does: what depends on the model's is bounded by then.
SECONDS of processor
time, memory and stack are limited by the kernel. Started by the gateway's checker.
"""

from __future__ import annotations

import math
import random
import resource
import sys
import threading
from pathlib import Path
from typing import Final

import llguidance
import msgspec
import numpy as np

from engine.serving import wire
from engine.serving.constraints import grammars
from storage.runtime import parent

MEMORY: Final = 512 * 1024 * 1024
_STACK: Final = 16 * 1024 * 1024
_STEPS: Final = 48
_END: Final = 256


class _Bytes:
    """A vocabulary of all bytes and an end, as llguidance asks for it."""

    eos_token_id = _END
    bos_token_id = None
    tokens: Final = [*(bytes((byte,)) for byte in range(256)), b"<end>"]
    special_token_ids: Final = [_END]

    def __call__(self, text: str | bytes) -> list[int]:
        """The tokens of a text."""
        return list(text.encode() if isinstance(text, str) else text)


def tokenizer() -> llguidance.LLTokenizer:
    """A tokenizer over single bytes; token 256 is the end."""
    wrapped = llguidance.TokenizerWrapper(_Bytes())
    return llguidance.LLTokenizer(wrapped, eos_token=[_END], slices=[])


def fault(constraint: wire.Constraint, tokens: llguidance.LLTokenizer) -> str | None:
    """Why a constraint cannot be held, None if it can."""
    try:
        matcher = grammars.compiled(tokens, constraint)
    except grammars.Unholdable as error:
        return str(error)
    dice = random.Random(0)
    for _ in range(_STEPS):
        mask = np.frombuffer(matcher.compute_bitmask(), np.uint8)
        allowed = np.flatnonzero(np.unpackbits(mask, bitorder="little"))
        if matcher.is_error() or not len(allowed):
            break
        more = allowed[allowed != _END]
        if not len(more):
            return None
        if not matcher.consume_token(int(dice.choice(more))) or matcher.is_stopped():
            break
    return grammars.reason(matcher) if matcher.is_error() else None


def main() -> None:
    """Answer until standard input ends."""
    parent.die_with(int(sys.argv[1]))
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(_STACK)
    serving = threading.Thread(target=_serve)
    serving.start()
    serving.join()


def _serve() -> None:
    tokens = tokenizer()
    decoder = msgspec.json.Decoder(wire.Constraint)
    for line in sys.stdin.buffer:
        _allow_cpu(int(sys.argv[2]))
        answer = fault(decoder.decode(line), tokens)
        sys.stdout.buffer.write(msgspec.json.encode(answer) + b"\n")
        sys.stdout.buffer.flush()


def _allow_cpu(seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = math.ceil(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main()
