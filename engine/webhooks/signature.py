"""The headers that identify and sign a webhook's message, as standardwebhooks.com defines them.

The signature is HMAC-SHA256 over `id.timestamp.body`. The id stays the same when a message is sent
again, so that a receiver can ignore the repetition. Imported by `engine.webhooks.call`.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

_PREFIX: Final = "whsec_"


def headers(id: str, body: bytes, *, at_s: int, secret: str | None) -> dict[str, str]:
    """The headers of one message; without a secret it is not signed."""
    found = {"webhook-id": id, "idempotency-key": id, "webhook-timestamp": str(at_s)}
    if secret is not None:
        signed = f"{id}.{at_s}.".encode() + body
        digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
        found["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return found


def _key(secret: str) -> bytes:
    """The bytes of a secret: base64 after `whsec_`, else the text itself."""
    if secret.startswith(_PREFIX):
        try:
            return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
        except binascii.Error:
            pass
    return secret.encode()
