"""Trains the shipped model: `python -m tools.model_factory.train --out DIR`.

Version 1.0.0 learns orders and servers, and to decline ids that are not in the notes. Version 1.1.0
is a LoRA on it that adds tickets, and declines attributes that are not in the notes. Both are then
evaluated on the held-out questions, and the figures are written to the model card. Needs the
`finetune` extra. Imported by nothing.
"""

import argparse
import random
import time
from pathlib import Path
from typing import Any

import torch

from engine.shipped import held_out, vocabulary, world
from tools.model_factory import card, chats, evaluate, gguf_files, learning, network, tokenizer

BASE_VERSION, ADAPTER_VERSION = "1.0.0", "1.1.0"
RANK, ALPHA = 16, 32.0
BASE_SHARE = 0.7  # of the whole time; the adapter gets the rest
FIRST_KINDS = (vocabulary.ORDER, vocabulary.SERVER)
FIRST_SKILLS: tuple[world.Skill, ...] = ("stated", "unknown id")


def base_plan(seconds: float) -> learning.Plan:
    """Pairs that differ only in their ids come first, so that the model attends to ids."""

    def recipe(stated: float, **rest: Any) -> world.Recipe:
        weights = (stated, 1 - stated)
        return world.Recipe(kinds=FIRST_KINDS, skills=FIRST_SKILLS, weights=weights, **rest)

    alike = recipe(0.85, entities=(2,), facts=(1, 1, 2), ids=30, alike=1.0, remark_chance=0.0)
    pairs = recipe(0.7, entities=(1, 2, 2, 3), facts=(1, 2, 3), ids=100, alike=0.7)
    phases = (
        learning.Phase(0.21, 32, chats.Mixture(alike, repeat=0.1, talk=0.02)),
        learning.Phase(0.37, 24, chats.Mixture(pairs, repeat=0.07)),
        learning.Phase(1.00, 16, chats.Mixture(recipe(0.6, alike=0.3), repeat=0.04)),
    )
    return learning.Plan(phases, seconds, matrix_rate=3e-3, vector_rate=3e-3)


def adapter_plan(seconds: float) -> learning.Plan:
    """Half of the entities are tickets; the others keep what 1.0.0 has learned."""
    kinds = (*FIRST_KINDS, vocabulary.TICKET, vocabulary.TICKET)
    phases = (learning.Phase(1.0, 16, chats.Mixture(world.Recipe(kinds=kinds, alike=0.3), 0.03)),)
    return learning.Plan(phases, seconds, matrix_rate=3e-3, vector_rate=0.0)


def untrained(words: tokenizer.Tokenizer) -> network.Network:
    """A network in which words with and without a leading space start with similar embeddings."""
    model = network.Network(network.Shape(len(words)))
    table = model.token_embd.weight
    space = chr(0x120)
    with torch.no_grad():
        bare = torch.randn(table.shape[1]) * 0.03
        for token, number in words.number.items():
            spaced = words.number.get(space + token)
            if spaced is not None:
                table[number] = 0.9 * table[spaced] + bare
    return model


def learn_base(
    path: Path, model: network.Network, words: tokenizer.Tokenizer, minutes: float, seed: int
) -> None:
    """Train version 1.0.0 and write it to `path`."""
    writer = chats.Writer(words, random.Random(seed))
    steps = learning.learn(model, writer, base_plan(minutes * 60), measured_notes(), clock)
    origin = gguf_files.Origin(BASE_VERSION, seed, steps, minutes)
    gguf_files.write_model(path, model, words, origin)


def learn_adapter(
    path: Path, model: network.Network, words: tokenizer.Tokenizer, minutes: float, seed: int
) -> None:
    """Add a LoRA to `model`, train it as version 1.1.0 and write it to `path`."""
    model.add_lora(RANK, ALPHA)
    writer = chats.Writer(words, random.Random(seed + 1))
    steps = learning.learn(model, writer, adapter_plan(minutes * 60), measured_notes(), clock)
    origin = gguf_files.Origin(ADAPTER_VERSION, seed, steps, minutes)
    gguf_files.write_adapter(path, model, ALPHA, origin)


def measured_notes() -> frozenset[str]:
    """The notes that are excluded from training."""
    return frozenset(item.context for item in (*held_out.read(), *held_out.development()))


def clock() -> float:
    """CPU seconds per thread, so that other load on the machine does not shorten a training."""
    return time.process_time() / int(torch.get_num_threads())


def train(out: Path, minutes: float, seed: int) -> None:
    """Train both versions into `out`, evaluate them and write the card."""
    torch.manual_seed(seed)
    out.mkdir(parents=True, exist_ok=True)
    words = tokenizer.Tokenizer(tokenizer.learn_merges(chats.every_word()))
    model = untrained(words)
    learn_base(out / card.BASE, model, words, minutes * BASE_SHARE, seed)
    learn_adapter(out / card.ADAPTER, model, words, minutes * (1 - BASE_SHARE), seed)
    evaluate.write_card(out)


def main() -> None:
    """Parse the command line and train."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.model_factory.train", description=__doc__
    )
    parser.add_argument("--out", type=Path, required=True, help="the output directory")
    parser.add_argument("--minutes", type=float, default=18.0, help="CPU minutes of both trainings")
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()
    train(arguments.out, arguments.minutes, arguments.seed)


if __name__ == "__main__":
    main()
