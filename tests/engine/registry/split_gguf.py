"""The shipped model in parts, as `llama-gguf-split` makes them."""

from __future__ import annotations

from pathlib import Path

import gguf

from tests.home_fixtures import WEIGHTS


def write(to: Path, tensors: int = 12, source: Path = WEIGHTS, *, bare: bool = False) -> list[Path]:
    """Split a model into parts of so many tensors, named after `to`; the parts in their order.

    `bare`: the first part has the metadata alone.
    """
    read = gguf.GGUFReader(source)
    architecture = read.fields["general.architecture"].contents()
    writer = gguf.GGUFWriter(to, architecture, split_max_tensors=tensors, small_first_shard=bare)
    for name, field in read.fields.items():
        if name == "general.architecture" or name.startswith("GGUF."):
            continue
        kind = field.types[0]
        item = field.types[-1] if kind is gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(name, field.contents(), kind, item)
    for tensor in read.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return sorted(to.parent.glob(f"{to.stem}-?????-of-?????.gguf"))
