"""Writes the shipped model and its adapter as GGUF.

The tensor names are those of llama.cpp's `llama` architecture; the adapter has the format of its
`convert_lora_to_gguf.py`. Never trains or measures. Needs torch and gguf. Imported by `train`.
"""

from dataclasses import dataclass
from pathlib import Path

import gguf
import torch

from tools.model_factory import network, tokenizer

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\\n'"
    " + message['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
ARCHITECTURE = "llama"
LICENCE = "apache-2.0"


@dataclass(frozen=True, slots=True)
class Origin:
    """The version in a file and the training that produced it; written to its header."""

    version: str
    seed: int
    steps: int
    minutes: float


def _describe(writer: gguf.GGUFWriter, origin: Origin) -> None:
    writer.add_name(f"Paddock ops {origin.version}")
    writer.add_basename("ops")
    writer.add_version(origin.version)
    writer.add_uint32("paddock.training.seed", origin.seed)
    writer.add_uint32("paddock.training.steps", origin.steps)
    writer.add_float32("paddock.training.minutes", origin.minutes)
    writer.add_organization("Paddock")
    writer.add_license(LICENCE)


def _write(writer: gguf.GGUFWriter) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def write_model(
    path: Path, model: network.Network, words: tokenizer.Tokenizer, origin: Origin
) -> None:
    """The base model: matrices in Q8_0, norms in 32 bits, the tokenizer and the chat template."""
    shape = model.shape
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_type(gguf.GGUFType.MODEL)
    _describe(writer, origin)
    writer.add_description(
        "Answers questions about notes on orders, servers and tickets. Made by "
        "tools/model_factory/train.py from a synthetic world."
    )
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.feed_forward)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_rope_dimension_count(shape.head_width)
    writer.add_rope_freq_base(shape.rope_base)
    writer.add_layer_norm_rms_eps(shape.norm_epsilon)
    writer.add_vocab_size(shape.vocabulary)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _add_tokenizer(writer, words)
    for name, tensor in model.state_dict().items():
        values = tensor.float().numpy()
        if values.ndim == 1:
            writer.add_tensor(name, values)
            continue
        quantised = gguf.quants.quantize(values, gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, quantised, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
    _write(writer)


def _add_tokenizer(writer: gguf.GGUFWriter, words: tokenizer.Tokenizer) -> None:
    specials = len(tokenizer.SPECIALS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(words.tokens)
    writer.add_token_types(
        [gguf.TokenType.CONTROL] * specials + [gguf.TokenType.NORMAL] * (len(words) - specials)
    )
    writer.add_token_merges([f"{left} {right}" for left, right in words.merges])
    writer.add_bos_token_id(words.number[tokenizer.END_OF_TEXT])
    writer.add_pad_token_id(words.number[tokenizer.END_OF_TEXT])
    writer.add_eos_token_id(words.number[tokenizer.END])
    writer.add_eot_token_id(words.number[tokenizer.END])
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_adapter(path: Path, model: network.Network, alpha: float, origin: Origin) -> None:
    """The LoRA alone, in 16 bits. A is (rank, in) and B is (out, rank)."""
    writer = gguf.GGUFWriter(path, ARCHITECTURE)
    writer.add_type(gguf.GGUFType.ADAPTER)
    _describe(writer, origin)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, alpha)
    for name, linear in model.linears():
        if linear.lora_a is None or linear.lora_b is None:
            raise ValueError(f"{name} has no adapter: call add_lora before writing one")
        writer.add_tensor(f"{name}.weight.lora_a", _half(linear.lora_a))
        writer.add_tensor(f"{name}.weight.lora_b", _half(linear.lora_b))
    _write(writer)


def _half(tensor: torch.Tensor) -> object:
    return tensor.detach().to(torch.float16).numpy()
