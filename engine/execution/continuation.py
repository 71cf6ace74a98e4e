"""The conversation of a recorded request and its answer, for a request that continues it.

Pure. Imported by `engine.gateway.responses`.
"""

from __future__ import annotations

import msgspec

from engine.execution import cut_arguments, replays
from engine.execution.job import Call, Chat, Message
from storage.texts import Text


class NotKept(Exception):
    """The recording does not hold the conversation; it has to be sent as a whole."""


def of(text: Text) -> tuple[Message, ...]:
    """The conversation so far, without instructions that were for that answer alone.

    Raises:
        NotKept: only a part of the texts was kept, or it was no conversation.
    """
    if text.asked is None:
        raise NotKept("its texts were cut when they were recorded")
    try:
        asked = replays.read(text.asked).input
        turn = text.turn and msgspec.json.decode(text.turn, type=Message)
    except (replays.Unreadable, msgspec.MsgspecError) as error:
        raise NotKept("another version of Paddock recorded it") from error
    if not isinstance(asked, Chat):
        raise NotKept("it is no conversation")
    said = asked.messages[1:] if asked.instructed else asked.messages
    return (*said, _sendable(turn) if turn else Message("assistant", text.completion))


def _sendable(turn: Message) -> Message:
    """A turn whose calls have objects as arguments, also where the answer's end cut the last."""
    calls = tuple(
        Call(call.id, call.name, cut_arguments.whole(call.arguments or "{}") or "{}")
        for call in turn.calls
    )
    return msgspec.structs.replace(turn, calls=calls)
