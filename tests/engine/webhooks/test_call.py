"""One call of a webhook: what a real server answers, and each way in which it does not."""

from __future__ import annotations

import base64
import hashlib
import hmac
import ipaddress
from typing import Any

import pytest

from engine.webhooks import call, signature
from storage import blocked_addresses, errors, receivers, rollout_steps
from tests.engine.webhooks import hooks
from tests.engine.webhooks.hooks import NO, YES, Does, answer

BRIEF_S = 0.3  # for servers that never answer


async def called(*does: bytes | Does, limit_s: float = call.TRY_S) -> call.Response:
    """The response of a server that does these."""
    async with hooks.served(*does) as hook:
        return await call.post(hook.url, b"{}", {}, limit_s=limit_s)


@pytest.mark.parametrize(
    ("response", "proceed", "reason"),
    [
        (YES, True, ""),
        (answer(204), True, ""),
        (answer(200, b"<html>fine</html>"), True, ""),
        (answer(200, ["proceed", False]), True, ""),
        (answer(200, {"proceed": True, "reason": "green"}), True, "green"),
        (NO, False, "the error budget is spent"),
        (answer(403, {"reason": "not\n on\x1b[31m Fridays"}), False, "not on [31m Fridays"),
        (answer(404, {"proceed": True}), False, ""),
    ],
)
async def test_2xx_is_a_yes_and_4xx_or_a_false_proceed_a_no(
    response: bytes, proceed: bool, reason: str
) -> None:
    """A reason is one printable line; any other body is ignored."""
    found = await called(response)
    assert (found.proceed, found.reason) == (proceed, reason)


@pytest.mark.parametrize(
    "host",
    [
        "169.254.169.254", "[fe80::1]", "[::ffff:169.254.169.254]", "[fd00:ec2::254]",
        "100.100.100.200", "metadata.google.internal",
    ],
)  # fmt: skip
async def test_a_metadata_service_is_never_asked(host: str) -> None:
    """It would hand out the machine's credentials; refused when it is given, too."""
    with pytest.raises(call.Misdirected, match="metadata"):
        await call.post(f"http://{host}/latest/", b"{}", {})
    with pytest.raises(ValueError, match="metadata"):
        rollout_steps.check_url(f"http://{host}/latest/")
    with pytest.raises(errors.Invalid, match="metadata"):
        receivers.shown(f"http://{host}/latest/")


async def test_a_name_that_leads_to_a_blocked_address_is_sent_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What counts is the address of the connection, which no later answer of a DNS changes."""
    blocked = frozenset(map(ipaddress.ip_address, ("127.0.0.1", "::1")))
    async with hooks.served(YES) as hook:
        url = hook.url.replace("127.0.0.1", "localhost")
        assert (await call.post(url, b"{}", {})).proceed
        monkeypatch.setattr(blocked_addresses, "_METADATA", blocked)
        with pytest.raises(call.Misdirected, match="metadata"):
            await call.post(url, b"{}", {})
        assert len(hook.requests) == 1


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (Does.HANG, "it did not answer within 0.3 s"),
        (Does.DROP, "the connection was cut off"),
        (Does.HALF, "the connection was cut off"),
        (answer(500), "it answered 500"),
        (answer(202), "it answered 202"),
    ],
)
async def test_a_server_that_gives_no_answer_may_be_asked_again(
    does: bytes | Does, said: str
) -> None:
    """None of them is a yes or a no: accepted is not decided."""
    with pytest.raises(call.Unanswered, match=said):
        await called(does, limit_s=BRIEF_S if does is Does.HANG else call.TRY_S)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (answer(307, location="http://169.254.169.254/"), "redirects to http://169.254.169.254,"),
        (Does.ENDLESS, "its answer is longer than 64 KiB"),
    ],
)
async def test_what_would_not_change_is_not_asked_again(does: bytes | Does, said: str) -> None:
    """A redirect is not followed, and a body without an end is not read."""
    with pytest.raises(call.Misdirected, match=said):
        await called(does)


async def test_a_port_where_nothing_listens_and_a_wish_to_wait() -> None:
    """Both are temporary; Retry-After is kept."""
    async with hooks.served(YES) as gone:
        pass
    with pytest.raises(call.Unanswered, match="no connection to it"):
        await call.post(gone.url, b"{}", {})
    with pytest.raises(call.Unanswered) as busy:
        await called(answer(429, retry_after="7"))
    assert busy.value.after_s == 7


@pytest.mark.parametrize(
    ("secret", "key"), [("hunter2", b"hunter2"), ("whsec_AAEC", b"\x00\x01\x02")]
)
def test_a_message_is_signed_over_its_id_its_time_and_its_body(secret: str, key: bytes) -> None:
    """As the receivers' libraries of standardwebhooks.com verify it; unsigned without a secret."""
    found = signature.headers("m1", b'{"a":1}', at_s=1_700_000_000, secret=secret)
    digest = hmac.digest(key, b'm1.1700000000.{"a":1}', hashlib.sha256)
    expected: dict[str, Any] = {
        "webhook-id": "m1",
        "idempotency-key": "m1",
        "webhook-timestamp": "1700000000",
    }
    unsigned = signature.headers("m1", b'{"a":1}', at_s=1_700_000_000, secret=None)
    assert unsigned == expected
    assert found == expected | {"webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}
