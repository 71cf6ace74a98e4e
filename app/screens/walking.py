"""Leading a run of a runbook from the screen: what may be offered, with its effect.

Pure functions of what is on the screen; the runner checks all of it again. Imported by the places
of runbooks and of one run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from app import snapshot, words
from app.screens.offered import Verb
from app.screens.place import Offer

VERBS: Final = (
    Verb("runbooks.next", "G", "continue"),
    Verb("runbooks.confirm", "C", "confirm", "the step was done by hand; type what you found"),
    Verb("runbooks.retry", "R", "retry"),
    Verb("runbooks.skip", "S", "skip"),
    Verb("runbooks.note", "N", "note", "type what belongs into the timeline"),
    Verb("runbooks.take", "T", "take"),
    Verb("runbooks.hand_over", "H", "hand over", "type who decides from now on"),
    Verb("runbooks.abort", "x", "abort"),
    Verb("runbooks.undo", "u", "undo"),
)
"""What can be done with a run that there is."""
NAMES: Final = frozenset(verb.name for verb in VERBS)
START: Final = Verb("runbooks.start", "n", "start")

_WAITS: Final = {
    "runbooks.next": ("next",), "runbooks.confirm": ("confirm",), "runbooks.retry": ("decide",),
    "runbooks.skip": ("next", "confirm", "decide"),
}  # fmt: skip
_TYPED: Final = {
    "runbooks.confirm": ("what you found; enter shows the effect", "note"),
    "runbooks.note": ("what you saw, did or decided", "text"),
    "runbooks.hand_over": ("a person, as the ledger names them", "to"),
}
_EFFECTS: Final = {
    "runbooks.retry": "the step looks again, and acts unless it did",
    "runbooks.skip": "the run continues after the step",
    "runbooks.take": "you decide for it from now on",
    "runbooks.abort": "it ends; what its steps changed is kept",
    "runbooks.undo": "the undo of its steps, the last one first",
}


def shown(run: snapshot.RunRow) -> Sequence[Verb]:
    """The verbs that a run may need now; the others would only take room."""
    open_ = {"runbooks.note", "runbooks.take", "runbooks.hand_over", "runbooks.abort"}
    found = []
    for verb in VERBS:
        waits = _WAITS.get(verb.name)
        if waits is not None:
            fits = run.waits_for in waits
        elif verb.name in open_:
            fits = run.open
        else:
            fits = not run.open
        if fits:
            found.append(verb)
    return found


def offer(
    name: str, run: snapshot.RunRow | None, effect: str = "", typed: str | None = None
) -> Offer | None:
    """What an action would do to a run; None where it is about something else.

    `effect` is what the step does at which it waits.
    """
    if name not in NAMES:
        return None
    if run is None:
        return Offer(unable="there is no run under the cursor")
    if why := _unable(name, run):
        return Offer(unable=why)
    arguments: dict[str, object] = {}
    if name in _WAITS:
        arguments["step"] = run.waits_at
    said = _EFFECTS.get(name, "") or effect
    if name in _TYPED:
        hint, field = _TYPED[name]
        if typed is None:
            return Offer(form="", hint=hint)
        if not typed.strip() and name != "runbooks.confirm":
            return Offer(unable=f"type {hint.partition(';')[0]}", form=typed, hint=hint)
        arguments[field] = typed.strip()
        said = typed.strip() or effect
    at = f", step {run.waits_at}" if name in _WAITS else ""
    verb = next(each.word for each in VERBS if each.name == name)
    what = f"run {run.id} ({words.safe(run.runbook)}{at})"
    return Offer(
        target=str(run.id), arguments=arguments, effect=f"{verb} {what}: {words.safe(said)}"
    )


def start(book: snapshot.BookRow | None, typed: str | None = None) -> Offer:
    """What starting a runbook would do: its inputs are typed, then it stops before each act."""
    if book is None:
        return Offer(unable="there is no runbook under the cursor")
    if book.broken:
        return Offer(unable=f"it cannot be used: {words.safe(book.broken)}")
    asked = [name for name, _, default in book.inputs if not default and name not in book.fills]
    hint = "inputs as NAME=VALUE; what is left out has its default"
    if typed is None and book.inputs:
        return Offer(form=" ".join(f"{name}=" for name in asked), hint=hint)
    given = {}
    for word in (typed or "").split():
        name, equals, value = word.partition("=")
        if not equals or not value:
            return Offer(unable=f"{word!r} is not NAME=VALUE", form=typed, hint=hint)
        given[name] = value
    shown_ = "".join(f"  {name}={value}" for name, value in given.items())
    return Offer(
        target=book.name,
        arguments={"inputs": given, "content": book.content, "pace": "step"},
        effect=f"start {book.name}{shown_}: it stops before each action. {words.safe(book.title)}",
    )


def _unable(name: str, run: snapshot.RunRow) -> str:
    """Why it cannot be done now; empty where it can."""
    if name == "runbooks.undo":
        return "it has not ended; abort it first" if run.open else ""
    if name == "runbooks.note":
        return ""
    if not run.open:
        return f"run {run.id} is {run.state}"
    waits = _WAITS.get(name)
    if waits is None or run.waits_for in waits:
        return ""
    if not run.waits_for:
        return f"run {run.id} is running"
    needed = {"next": "continue", "confirm": "be confirmed", "decide": "be retried or skipped"}
    return f"it waits to {needed[run.waits_for]}"
