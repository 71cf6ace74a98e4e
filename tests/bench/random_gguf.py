"""Write a GGUF of random weights: real shapes and a synthetic vocabulary, for measuring speed only.

`python tests/bench/random_gguf.py OUT [--vocabulary 32000] [--width 320] [--layers 12]
[--type q8_0|f16] [--lora OUT]`. Llama architecture, byte-level BPE without merges to speak of:
what it says is noise. Heads have 64 dimensions, as in small models: below what one step of a vector
loop takes, llama.cpp's attention on a CPU falls back to scalars and hides all other differences.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def _alphabet() -> list[str]:
    """The 256 printable stand-ins for bytes of byte-level BPE (Radford et al. 2019)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    stand_ins = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        if byte not in stand_ins:
            stand_ins[byte] = chr(256 + len(stand_ins) - len(plain))
    return [stand_ins[byte] for byte in range(256)]


def _vocabulary(size: int) -> tuple[list[str], list[int], list[str]]:
    """Tokens, their types, and the few merges that a BPE vocabulary must have."""
    tokens = [*SPECIAL, *_alphabet()]
    merges: list[str] = []
    letters = "abcdefghijklmnopqrstuvwxyz"
    known = set(tokens)
    frontier = list(letters)
    while len(tokens) < size:
        grown: list[str] = []
        for head in frontier:
            for letter in letters:
                word = head + letter
                if len(tokens) < size and word not in known:
                    known.add(word)
                    tokens.append(word)
                    merges.append(f"{head} {letter}")
                    grown.append(word)
        frontier = grown
    types = [gguf.TokenType.CONTROL] * len(SPECIAL)
    types += [gguf.TokenType.NORMAL] * (size - len(SPECIAL))
    return tokens, [int(t) for t in types], merges


def write(
    path: Path,
    *,
    vocabulary: int = 32_000,
    width: int = 320,
    layers: int = 12,
    heads: int = 5,
    kv_heads: int = 1,
    forward: int = 960,
    context: int = 4096,
    kind: str = "q8_0",
    seed: int = 0,
) -> None:
    """Write the file; `width` and `forward` in multiples of 32, `width` also of `heads`."""
    random = np.random.default_rng(seed)
    file = gguf.GGUFWriter(path, "llama")
    file.add_name("random")
    file.add_context_length(context)
    file.add_embedding_length(width)
    file.add_block_count(layers)
    file.add_feed_forward_length(forward)
    file.add_head_count(heads)
    file.add_head_count_kv(kv_heads)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_rope_dimension_count(width // heads)
    file.add_vocab_size(vocabulary)
    tokens, types, merges = _vocabulary(vocabulary)
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list(tokens)
    file.add_token_types(types)
    file.add_token_merges(merges)
    file.add_bos_token_id(0)
    file.add_eos_token_id(2)
    file.add_add_bos_token(value=False)
    file.add_chat_template(CHAT_TEMPLATE)

    quantisation = {
        "q8_0": gguf.GGMLQuantizationType.Q8_0,
        "f16": gguf.GGMLQuantizationType.F16,
    }[kind]

    def matrix(name: str, rows: int, columns: int, scale: float = 1.0) -> None:
        values = random.standard_normal((rows, columns), np.float32) * (scale / np.sqrt(columns))
        file.add_tensor(
            name,
            gguf.quants.quantize(values.astype(np.float32), quantisation),
            raw_dtype=quantisation,
        )

    kv_width = width // heads * kv_heads
    matrix("token_embd.weight", vocabulary, width, 4.0)
    file.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for block in range(layers):
        stem = f"blk.{block}."
        file.add_tensor(stem + "attn_norm.weight", np.ones(width, np.float32))
        matrix(stem + "attn_q.weight", width, width)
        matrix(stem + "attn_k.weight", kv_width, width)
        matrix(stem + "attn_v.weight", kv_width, width)
        matrix(stem + "attn_output.weight", width, width)
        file.add_tensor(stem + "ffn_norm.weight", np.ones(width, np.float32))
        matrix(stem + "ffn_gate.weight", forward, width)
        matrix(stem + "ffn_up.weight", forward, width)
        matrix(stem + "ffn_down.weight", width, forward)
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()


def main() -> None:
    """Write one file from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--vocabulary", type=int, default=32_000)
    parser.add_argument("--width", type=int, default=320)
    parser.add_argument("--layers", type=int, default=12)
    parser.add_argument("--type", choices=("q8_0", "f16"), default="q8_0")
    arguments = parser.parse_args()
    write(
        arguments.out,
        vocabulary=arguments.vocabulary,
        width=arguments.width,
        layers=arguments.layers,
        heads=arguments.width // 64,
        forward=arguments.width * 3,
        kind=arguments.type,
    )
    print(f"{arguments.out}: {arguments.out.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
