"""Entries of the ledger with their reasons, as of now or of a past moment.

Text is made safe by who prints it. Imported by `app.figures.reading`.
"""

from __future__ import annotations

import json
from typing import Any, Final

from app import snapshot, words
from storage import ledger
from storage.ledger import Entry
from storage.store import Session

_VALUE: Final = 800  # characters of a value; a prompt's text is no row of a list


async def rows(
    s: Session, *, limit: int, text_filter: str = "", until_us: int | None = None
) -> snapshot.Ledger:
    """The newest entries, newest first; those up to a moment, where one is given."""
    found = await ledger.tail(s, limit + 1, text_filter=text_filter, until_us=until_us)
    shown = found[:limit]
    reasons = await ledger.reasons(s, shown)
    return snapshot.Ledger(
        rows=tuple(row(each, reasons.get(each.intent_id or 0, "")) for each in shown),
        filter=text_filter,
        more=len(found) > limit,
    )


def row(entry: Entry, asked: str) -> snapshot.LedgerRow:
    """One entry; `asked` is the reason of its intent."""
    return snapshot.LedgerRow(
        id=entry.id,
        at_us=entry.at_us,
        actor=entry.actor,
        verb=entry.verb,
        noun=entry.noun,
        key=entry.key,
        before=_value(entry.before),
        after=_value(entry.after),
        reason=entry.reason or asked,
        intent_id=entry.intent_id,
    )


def _value(value: Any) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return words.cut(text, _VALUE)
