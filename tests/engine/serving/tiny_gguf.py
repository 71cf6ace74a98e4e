"""GGUF files of a few kilobytes whose behaviour is known: what a token is followed by is chosen.

`chain` writes a Llama whose attention and feed-forward add nothing, with one embedding dimension
per token: the logits depend on the last token alone. `bert` writes an encoder, which cannot
generate, `mamba` a recurrent model. `lora` writes an adapter of a chain. What is damaged has its
own parameters.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import gguf
import numpy as np

NORMAL, UNKNOWN, CONTROL, BYTE = (
    int(gguf.TokenType.NORMAL),
    int(gguf.TokenType.UNKNOWN),
    int(gguf.TokenType.CONTROL),
    int(gguf.TokenType.BYTE),
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
SPM_WORDS = ("▁", *LETTERS, "/", "<", ">", "[", "]", "▁a", "▁old", "old", "▁new", "new", "ol", "ne")


def chain(
    path: Path,
    tokens: Sequence[tuple[str, int]],
    *,
    follows: Mapping[int, int],
    eos: int,
    merges: Sequence[str] = ("a b",),
    template: str = "",
    tokenizer: str = "gpt2",
    nan: Collection[int] = (),
    blank: bool = False,
) -> None:
    """A byte-level BPE model: after token t comes `follows[t]`, after all others token 0.

    After the tokens in `nan` nothing is a number, even if they come later; a `blank` model predicts
    every token alike. With another `tokenizer`, such as llama, text outside the vocabulary aborts.
    """
    file = gguf.GGUFWriter(path, "llama")
    file.add_tokenizer_model(tokenizer)
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list([text for text, _ in tokens])
    file.add_token_types([kind for _, kind in tokens])
    file.add_token_merges(list(merges))
    file.add_eos_token_id(eos)
    file.add_add_bos_token(value=False)
    if template:
        file.add_chat_template(template)
    if tokenizer != "gpt2":
        file.add_token_scores([0.0] * len(tokens))
    _llama(file, len(tokens), follows, nan=nan, blank=blank)


def lora(path: Path, vocabulary: int, *, alpha: float, size: float = 1.0) -> None:
    """An adapter of a `chain` with this many tokens, of rank 1 on its attention's output."""
    width = -(-vocabulary // 32) * 32
    file = gguf.GGUFWriter(path, "llama")
    file.add_string("general.type", "adapter")
    file.add_string("adapter.type", "lora")
    file.add_float32("adapter.lora.alpha", alpha)
    for layer in ("attn_v", "attn_output"):
        for half, shape in (("a", (1, width)), ("b", (width, 1))):
            weights = np.full(shape, size, np.float32)
            file.add_tensor(f"blk.0.{layer}.weight.lora_{half}", weights)
    _write(file)


def spm(path: Path) -> None:
    """A SentencePiece model with the control tokens of Llama 2, letters and a few words."""
    tokens = [("<unk>", UNKNOWN), ("<s>", CONTROL), ("</s>", CONTROL)]
    tokens += [(f"<0x{byte:02X}>", BYTE) for byte in range(256)]
    tokens += [(word, NORMAL) for word in SPM_WORDS]
    file = gguf.GGUFWriter(path, "llama")
    file.add_tokenizer_model("llama")
    file.add_token_list([text for text, _ in tokens])
    file.add_token_types([kind for _, kind in tokens])
    file.add_token_scores([float(len(text)) for text, _ in tokens])
    file.add_bos_token_id(1)
    file.add_eos_token_id(2)
    file.add_add_bos_token(value=True)
    file.add_add_space_prefix(value=True)
    _llama(file, len(tokens), {})


def bert(
    path: Path,
    width: int = 32,
    context: int = 64,
    *,
    pooling: gguf.PoolingType = gguf.PoolingType.MEAN,
    nan: Collection[int] = (),
    unused: int = 0,
) -> dict[str, np.ndarray]:
    """An embedding model, or with pooling rank a reranking one: encoder only, no KV memory.

    Returns its tensors. After the tokens in `nan` nothing is a number; no text has the `unused`
    ones.
    """
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"▁{letter}" for letter in LETTERS)]
    tokens += [*LETTERS, *(f"[unused{number}]" for number in range(unused))]
    file = gguf.GGUFWriter(path, "bert")
    file.add_tokenizer_model("bert")
    file.add_tokenizer_pre("default")
    file.add_token_list(tokens)
    file.add_token_types([CONTROL] * 5 + [NORMAL] * (len(tokens) - 5))
    file.add_token_type_count(2)
    for name, token in (("unk", 1), ("bos", 2), ("eos", 3), ("sep", 3), ("pad", 0), ("mask", 4)):
        getattr(file, f"add_{name}_token_id")(token)
    file.add_context_length(context)
    file.add_embedding_length(width)
    file.add_block_count(1)
    file.add_feed_forward_length(width)
    file.add_head_count(2)
    file.add_layer_norm_eps(1e-5)
    file.add_causal_attention(value=False)
    file.add_pooling_type(pooling)
    random = np.random.default_rng(0)

    def drawn(*shape: int, size: float = 1.0) -> np.ndarray:
        return random.standard_normal(shape).astype(np.float32) * np.float32(size)

    made = {
        "token_embd.weight": drawn(len(tokens), width),
        "token_types.weight": drawn(2, width),
        "position_embd.weight": drawn(context, width, size=0.3),
    }
    made["token_embd.weight"][list(nan)] = np.nan
    for name in ("token_embd_norm", "blk.0.attn_output_norm", "blk.0.layer_output_norm"):
        made[f"{name}.weight"] = 1 + drawn(width, size=0.1)
        made[f"{name}.bias"] = drawn(width, size=0.1)
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_up", "ffn_down"):
        made[f"blk.0.{name}.weight"] = drawn(width, width, size=width**-0.5)
        made[f"blk.0.{name}.bias"] = drawn(width, size=0.1)
    if pooling is gguf.PoolingType.RANK:
        made |= {"cls.weight": drawn(width, width, size=width**-0.5), "cls.bias": drawn(width)}
        made |= {"cls.output.weight": drawn(1, width), "cls.output.bias": drawn(1)}
    for name, tensor in made.items():
        file.add_tensor(name, tensor)
    _write(file)
    return made


def mamba(path: Path, width: int = 32, vocabulary: int = 64) -> None:
    """A recurrent model with random weights: its state holds all that it read."""
    random = np.random.default_rng(5)
    inner, state, rank, kernel = 2 * width, 8, 4, 4
    file = gguf.GGUFWriter(path, "mamba")
    file.add_tokenizer_model("gpt2")
    file.add_tokenizer_pre("gpt-2")
    file.add_token_list([f"<{number}>" for number in range(vocabulary)])
    file.add_token_types([NORMAL] * vocabulary)
    file.add_token_merges(["a b"])
    file.add_eos_token_id(0)
    file.add_context_length(4096)
    file.add_embedding_length(width)
    file.add_feed_forward_length(0)
    file.add_head_count(0)
    file.add_block_count(2)
    file.add_ssm_conv_kernel(kernel)
    file.add_ssm_inner_size(inner)
    file.add_ssm_state_size(state)
    file.add_ssm_time_step_rank(rank)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(vocabulary)

    def matrix(name: str, *shape: int) -> None:
        file.add_tensor(name, random.standard_normal(shape).astype(np.float32) * 0.3)

    matrix("token_embd.weight", vocabulary, width)
    matrix("output.weight", vocabulary, width)
    file.add_tensor("output_norm.weight", np.ones(width, np.float32))
    for block in ("blk.0.", "blk.1."):
        file.add_tensor(f"{block}attn_norm.weight", np.ones(width, np.float32))
        matrix(f"{block}ssm_in.weight", 2 * inner, width)
        matrix(f"{block}ssm_conv1d.weight", inner, kernel)
        matrix(f"{block}ssm_conv1d.bias", inner)
        matrix(f"{block}ssm_x.weight", rank + 2 * state, inner)
        matrix(f"{block}ssm_dt.weight", inner, rank)
        matrix(f"{block}ssm_dt.bias", inner)
        decay = -np.abs(random.standard_normal((inner, state))).astype(np.float32)
        file.add_tensor(f"{block}ssm_a", decay)
        matrix(f"{block}ssm_d", inner)
        matrix(f"{block}ssm_out.weight", width, inner)
    _write(file)


def _llama(
    file: gguf.GGUFWriter,
    vocabulary: int,
    follows: Mapping[int, int],
    *,
    nan: Collection[int] = (),
    blank: bool = False,
) -> None:
    width = -(-vocabulary // 32) * 32
    file.add_context_length(512)
    file.add_embedding_length(width)
    file.add_block_count(1)
    file.add_feed_forward_length(32)
    file.add_head_count(1)
    file.add_head_count_kv(1)
    file.add_rope_dimension_count(width)
    file.add_layer_norm_rms_eps(1e-5)
    file.add_vocab_size(vocabulary)
    embedding = np.eye(vocabulary, width, dtype=np.float32)
    output = np.zeros((vocabulary, width), np.float32)
    for token in range(vocabulary):
        output[follows.get(token, 0), token] = 0.0 if blank else 1.0
    embedding[list(nan)] = np.nan
    file.add_tensor("token_embd.weight", embedding)
    file.add_tensor("output.weight", output)
    file.add_tensor("output_norm.weight", np.ones(width, np.float32))
    file.add_tensor("blk.0.attn_norm.weight", np.ones(width, np.float32))
    file.add_tensor("blk.0.ffn_norm.weight", np.ones(width, np.float32))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output"):
        file.add_tensor(f"blk.0.{name}.weight", np.zeros((width, width), np.float32))
    file.add_tensor("blk.0.ffn_gate.weight", np.zeros((32, width), np.float32))
    file.add_tensor("blk.0.ffn_up.weight", np.zeros((32, width), np.float32))
    file.add_tensor("blk.0.ffn_down.weight", np.zeros((width, 32), np.float32))
    _write(file)


def _write(file: gguf.GGUFWriter) -> None:
    file.write_header_to_file()
    file.write_kv_data_to_file()
    file.write_tensors_to_file()
    file.close()
