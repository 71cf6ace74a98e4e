"""The models that replace those of the tests: the shipped one with their templates, an encoder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import gguf

from tests.engine.serving import tiny_gguf

_TOKENS: Final = gguf.Keys.Tokenizer.LIST
_END: Final = "<|im_end|>"

ENCODER_TOKENS: Final = 512
"""The longest input of an encoder."""

BUILT_IN: Final = {
    "chatml": (
        "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llama3": (
        "{{ bos_token }}{% for m in messages %}<|start_header_id|>{{ m.role }}<|end_header_id|>\n\n"
        "{{ m.content }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "command-r": (
        "{% for m in messages %}<|START_OF_TURN_TOKEN|>"
        "{{ {'system': '<|SYSTEM_TOKEN|>', 'user': '<|USER_TOKEN|>'}"
        ".get(m.role, '<|CHATBOT_TOKEN|>') }}{{ m.content }}<|END_OF_TURN_TOKEN|>{% endfor %}"
        "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}"
    ),
}
"""Forms that llama-server has in C++ and knows by a name."""


def with_template(source: Path, folder: Path, template: str) -> Path:
    """A copy of a GGUF file that has this chat template; written once."""
    out = folder / f"{hashlib.sha256(template.encode()).hexdigest()[:12]}.gguf"
    if not out.exists():
        _copy(source, out, {gguf.Keys.Tokenizer.CHAT_TEMPLATE: template})
    return out


def endless(source: Path, folder: Path) -> Path:
    """A copy of a GGUF file whose texts do not end, as those of stories260K; written once.

    libllama knows the tokens that end a text by their names and by the ids of EOS and EOT.
    """
    out = folder / "endless.gguf"
    if not out.exists():
        keys = gguf.Keys.Tokenizer
        tokens = gguf.GGUFReader(source).fields[_TOKENS].contents()
        tokens = ["<|no_end|>" if token == _END else token for token in tokens]
        _copy(source, out, {_TOKENS: tokens, keys.EOS_ID: 0, keys.EOT_ID: 0})
    return out


def _copy(source: Path, out: Path, changes: Mapping[str, Any]) -> None:
    """Copy a GGUF file with some of its fields changed."""
    read = gguf.GGUFReader(source)
    architecture = read.fields[gguf.Keys.General.ARCHITECTURE].contents()
    writer = gguf.GGUFWriter(out, architecture, endianess=read.endianess)
    for field in read.fields.values():
        if field.name == gguf.Keys.General.ARCHITECTURE or field.name.startswith("GGUF."):
            continue
        kind = field.types[0]
        inner = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
        value = changes.get(field.name, field.contents())
        writer.add_key_value(field.name, value, kind, inner)
    for tensor in read.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def encoder(folder: Path, pooling: str) -> Path:
    """A small encoder with random weights that makes embeddings, or with pooling rank ranks."""
    out = folder / f"encoder-{pooling}.gguf"
    if not out.exists():
        kind = gguf.PoolingType[pooling.upper()]
        tiny_gguf.bert(out, context=ENCODER_TOKENS, pooling=kind, unused=100)
    return out
