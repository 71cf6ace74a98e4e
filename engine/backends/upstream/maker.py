"""Which program answers at an upstream, asked once where its requests depend on it.

vLLM, SGLang, llama-server and Paddock say so in `owned_by` of their models. Imported by `exchange`.
"""

from __future__ import annotations

from typing import Final

import httpx
import msgspec

from engine.backends.upstream.server import Server

VLLM: Final = "vllm"
SGLANG: Final = "sglang"
LLAMA: Final = "llamacpp"
PADDOCK: Final = "paddock"
UNKNOWN: Final = ""
_KNOWN: Final = frozenset({VLLM, SGLANG, LLAMA, PADDOCK})
_LIMIT: Final = 1 << 20
_WITHIN_S: Final = 5.0


class _Model(msgspec.Struct):
    owned_by: str = ""


class _Models(msgspec.Struct):
    data: list[_Model] = []


async def of(server: Server) -> str:
    """One of the names above; if it is unknown, the server is asked again the next time."""
    if server.maker:
        return server.maker
    try:
        _, body = await server.get(
            f"{server.settings.url.rstrip('/')}/models", limit=_LIMIT, within_s=_WITHIN_S
        )
        models = msgspec.json.decode(body or b"{}", type=_Models)
    except (TimeoutError, httpx.HTTPError, msgspec.MsgspecError, UnicodeDecodeError):
        return UNKNOWN
    owners = {model.owned_by for model in models.data} & _KNOWN
    server.maker = owners.pop() if len(owners) == 1 else UNKNOWN
    return server.maker
