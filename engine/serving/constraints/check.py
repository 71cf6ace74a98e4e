"""`python -m engine.serving.constraints.check PARENT SECONDS`: tries constraints.

Reads one encoded constraint a line from standard input and answers with a line: why it cannot be
held, or null. One that takes too much ends the process: SECONDS of processor time, memory and stack
are limited by the kernel. Besides compiling it, it walks some way into the text, because much of
the work is only done there. What a mask costs depends on the vocabulary, so this one is as large as
a model's, and there is less room than in a worker: what passes here seldom fails there. Started by
the gateway's checker.
"""

from __future__ import annotations

import itertools
import math
import os
import random
import resource
import string
import sys
import threading
from collections.abc import Iterable
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
_NICE: Final = 10
_PIECE: Final = 16


class _Tokens:
    """All bytes, an end, and others, as llguidance asks for a vocabulary."""

    eos_token_id = _END
    bos_token_id = None
    special_token_ids: Final = [_END]

    def __init__(self, others: Iterable[bytes]) -> None:
        self.tokens = [*(bytes((byte,)) for byte in range(256)), b"<end>", *others]

    def __call__(self, text: str | bytes) -> list[int]:
        """The tokens of a text."""
        return list(text.encode() if isinstance(text, str) else text)


def usual() -> llguidance.LLTokenizer:
    """A tokenizer with as many tokens as a model has, token 256 the end.

    Besides bytes they are pairs of characters, syllables, numbers and runs.
    """
    letters, printed = string.ascii_lowercase, string.printable
    syllables = ("".join(each) for each in itertools.product(letters, repeat=3))
    others = itertools.chain(
        ("".join(each) for each in itertools.product(printed, repeat=2)),
        (text for each in syllables for text in (each, f" {each}", each.capitalize())),
        ("".join(each) for each in itertools.product(string.digits, repeat=3)),
        (each * count for each in printed for count in range(3, _PIECE + 1)),
    )
    wrapped = llguidance.TokenizerWrapper(_Tokens(map(str.encode, others)))
    return llguidance.LLTokenizer(wrapped, eos_token=[_END])


def fault(constraint: wire.Constraint, tokens: llguidance.LLTokenizer) -> str | None:
    """Why a constraint cannot be held, None if it can."""
    try:
        matcher = grammars.compiled(tokens, constraint, trial=True)
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
    os.nice(_NICE)  # workers go on beside it
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    threading.stack_size(_STACK)
    serving = threading.Thread(target=_serve)
    serving.start()
    serving.join()


def _serve() -> None:
    tokens = usual()
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
