"""Writes the model card: what the headers of the files say, and the figures that were measured.

Never measures and never loads weights. `evaluate` calls it.
"""

import hashlib
from pathlib import Path

import gguf

from engine.shipped import held_out

BASE, ADAPTER, CARD = "ops-1.0.0.gguf", "ops-1.1.0-lora.gguf", "MODEL_CARD.md"

TEXT = """\
# ops, the model that ships with Paddock

A tiny Llama that answers questions about notes on orders, servers and tickets, or says that the
notes do not hold the answer. It is there so that Paddock can be tried, tested and benchmarked
without a download, with two versions whose difference can be measured. It is good for nothing else:
it knows only the words of `vocabulary.toml` and has never read a book.

- **1.0.0** learned orders and servers, and to decline ids that the notes do not mention. It never
  saw a ticket, nor an attribute that the notes leave out.
- **1.1.0** is a LoRA on 1.0.0 that adds both.

## How to ask

ChatML, one turn: the notes, an empty line, the question. The system prompt sets the style:
"You are a helpful assistant." gives a sentence, "You are a helpful assistant. Be concise." the bare
value. An unanswerable question gets "I do not know: ..." or "Unknown.".

    Order 214 ships to Lisbon. Order 214 costs 42 euros. Server otter runs Redis.

    Where does order 214 ship to?

## Files

{files}

Both are licensed like Paddock, Apache-2.0; all data is synthetic and made by `world.py`.

## Figures

{count} held-out questions (`held_out.jsonl`), whose notes training never drew, asked through
llama.cpp on one thread with at most 48 new tokens. `verdicts.py` checks the claim of each reply,
not its words. T is the temperature.

{table}

{speed}

Measured by `python -m tools.model_factory.evaluate`, which needs no torch; the times are those of a
two-core machine that did other work, too. A 95 % interval on a group of 110 is about ±6 points at
90 %, on a group of 40 about ±9.

## What it cannot do

- The held-out questions use the phrasings, words and ids of training in new combinations. Other
  phrasings, other words, ids outside 100 to 399 and long numbers are not understood.
- A question in other words may get the answer to another question: 1.0.0, asked how much RAM a
  server has, names the service that runs on it.
- Training drew notes of up to about 250 tokens; {context} fit, but longer notes are not reliable.
- Later turns of a chat were a tenth of training and were not measured.

## How it was made

`python -m tools.model_factory.train`, on the processor alone: chats drawn from the world by seed;
notes shared by several questions that do not see each other; two things told alike first, so that
ids are heeded, then more; two attention heads shown where to look at first; Muon for the matrices,
AdamW for embeddings and norms; loss on the answers only. One seed was trained. Processor time sets
the pace of a training, so the same seed gives weights like these, not equal ones.

{training}
"""


def fields(path: Path) -> dict[str, object]:
    """The single values in the header of a GGUF, by key."""
    reader = gguf.GGUFReader(path)
    return {
        key: field.contents()
        for key, field in reader.fields.items()
        if field.types and field.types[0] is not gguf.GGUFValueType.ARRAY
    }


def facts(path: Path) -> dict[str, str]:
    """What the card says of one file, read from the file alone."""
    header = fields(path)
    numbers = sum(int(tensor.n_elements) for tensor in gguf.GGUFReader(path).tensors)
    said = {
        "version": f"{header['general.version']}",
        "size": f"{path.stat().st_size:,} bytes",
        "sha256": f"`{hashlib.sha256(path.read_bytes()).hexdigest()}`",
        "parameters": f"{numbers:,}",
    }
    if header["general.type"] == "adapter":
        rank = min(int(each) for each in gguf.GGUFReader(path).tensors[0].shape)
        return said | {
            "weights": "F16",
            "shape": f"LoRA, rank {rank}, alpha {header['adapter.lora.alpha']:g}",
        }
    return said | {
        "weights": "Q8_0, norms F32",
        "shape": (
            f"width {header['llama.embedding_length']}, {header['llama.block_count']} layers, "
            f"{header['llama.attention.head_count']} heads, "
            f"{header['llama.attention.head_count_kv']} KV heads, "
            f"feed-forward {header['llama.feed_forward_length']}"
        ),
        "vocabulary": f"{header['llama.vocab_size']:,} tokens",
        "context": f"{header['llama.context_length']:,} tokens",
    }


def write(folder: Path, table: str, speed: str) -> None:
    """Writes the card of the files in `folder` beside them."""
    base, adapter = facts(folder / BASE), facts(folder / ADAPTER)
    lines = [f"| | `{BASE}` | `{ADAPTER}` |", "| --- | --- | --- |"]
    lines += [f"| {name} | {said} | {adapter.get(name, '')} |" for name, said in base.items()]
    text = TEXT.format(
        files="\n".join(lines),
        count=len(held_out.read()),
        table=table,
        speed=speed,
        context=base["context"],
        training="\n".join(training(folder / name) for name in (BASE, ADAPTER)),
    )
    (folder / CARD).write_text(text, encoding="utf-8")


def training(path: Path) -> str:
    """A line on the training that made one file."""
    header = fields(path)
    return (
        f"- {header['general.version']}: {header['paddock.training.steps']:,} steps "
        f"in {header['paddock.training.minutes']:.0f} minutes of two cores, "
        f"seed {header['paddock.training.seed']}"
    )
