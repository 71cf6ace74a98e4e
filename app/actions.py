"""The one table of what people can do: screens, keys and the command line all read it.

An action knows its name, its place (noun, verb), the letter that calls it on a screen, how
dangerous it is, whether it asks for a reason, the sentence that help and confirms show, and the
command that does the same. It never draws and never asks: the caller of `perform` has confirmed.
Imported by the commands, the screens and their tests.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType
from typing import Final

from app import words
from app.screens import keymap
from storage import intents, jobs, processes, runs
from storage.control_socket import client, verbs
from storage.control_socket.verbs import Danger, Why
from storage.home.paths import Home
from storage.store import Store

OUTCOME_S: Final = 10.0  # how long to wait for the outcome before saying where it will appear
_BEGINS_RUN: Final = "runbooks.start"
_WALKS: Final = frozenset(
    {_BEGINS_RUN, *(f"runbooks.{verb}" for verb in ("next", "confirm", "skip", "retry", "undo"))}
)
_WAITING: Final = frozenset({intents.State.ACCEPTED.value, intents.State.CLAIMED.value})


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a person asks for, with the version of the world that they saw."""

    target: str
    arguments: Mapping[str, object] = field(default_factory=dict)
    reason: str = ""
    expected_version: int | None = None
    confirm: str = ""  # the target's name, repeated by the person, where the action is hard


@dataclass(frozen=True, slots=True, kw_only=True)
class Done:
    """How it ended, in a sentence that can be shown as it is."""

    ok: bool  # it was done; what waits is not
    sentence: str
    intent_id: int | None = None
    state: str = ""  # the intent's state; "accepted" or "claimed" when it had not ended in time

    @property
    def waits(self) -> bool:
        """Whether it is stored and not ended: neither done nor decided against."""
        return self.state in _WAITING


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """One row of the table."""

    name: str  # "services.split": for what travels as an intent, the verb's own name
    noun: str
    verb: str
    key: str  # one letter on the screen, "" for none; one letter means one thing everywhere
    danger: Danger
    sentence: str
    command: str  # "services split NAME r1=90 r2=10", without the leading `paddock`; "" for none
    asks_reason: bool = False  # the screen asks why
    needs_reason: bool = False  # and does nothing without an answer
    intent: str = ""  # the verb that it travels as, where that is not its name


async def perform(
    home: Home, store: Store, action: Action, wanted: Wanted, *, timeout_s: float = OUTCOME_S
) -> Done:
    """Hand in the intent of an action that was confirmed, and wait for its outcome.

    Raises:
        storage.errors.StorageError: the node is down, or refuses; its text says what to do.
    """
    key = client.new_key()
    try:
        accepted = await client.ask(
            home,
            action.intent or action.name,
            wanted.target,
            dict(wanted.arguments),
            reason=wanted.reason,
            expected_version=wanted.expected_version,
            idempotency_key=key,
            confirm=wanted.confirm,
        )
        number = accepted.intent_id
    except client.Unanswered:  # the store may know what the node does not say
        async with store.read() as session:
            stored = await intents.by_key(session, key)
        if stored is None:
            raise
        number = stored.id
    return await outcome(store, await client.wait(store, number, timeout_s))


async def outcome(store: Store, intent: intents.Intent) -> Done:
    """How an intent ended, or what it waits for."""
    if intent.ended_at_us is None:
        return Done(
            ok=False,
            sentence=await _waiting(store, intent),
            intent_id=intent.id,
            state=intent.state.value,
        )
    return Done(
        ok=intent.state is intents.State.APPLIED,
        sentence=words.safe(intent.outcome or f"Intent {intent.id}: {intent.state.value}."),
        intent_id=intent.id,
        state=intent.state.value,
    )


async def opens(store: Store, action: Action, done: Done) -> tuple[str, str] | None:
    """The place that shows what was begun, and which one of them; None where the screen stays."""
    if action.name != _BEGINS_RUN or done.intent_id is None:
        return None
    number = done.intent_id
    async with store.read() as session:
        run = await runs.of_intent(session, number)
    return None if run is None else ("run", str(run.id))


async def _waiting(store: Store, intent: intents.Intent) -> str:
    """What an intent waits for: its job, or the process that carries it out and its state."""
    if intent.claimed_by == jobs.CLAIMER:
        async with store.read() as session:
            job = await jobs.of_intent(session, intent.id)
        if job is not None:
            return f"Job {job.id} {jobs.how(job.state)}; `paddock jobs show {job.id}` shows more."
    part = intent.claimed_by or verbs.TABLE[intent.verb].process
    async with store.read() as session:
        parts = {each.name: each for each in await processes.every(session)}
    found = parts.get(part)
    if intent.state is intents.State.CLAIMED and intent.verb in _WALKS:
        return "The run continues; its place on the screen and `paddock runbooks get` show how far."
    state = "is not running" if found is None else f"is {found.state.value}"
    why = f" ({words.safe(found.reason)})" if found is not None and found.reason else ""
    if intent.state is intents.State.CLAIMED:
        said = f"Intent {intent.id} is in progress; {part}, which claimed it, {state}"
    else:
        said = f"Stored as intent {intent.id}, not carried out yet: {part} {state}"
    return f"{said}{why}. `paddock intents tail` shows the outcome."


# The letters of the verbs that a place of the screen offers. A letter means one thing: `u` goes
# back and `x` ends what is under way, of whichever noun the place shows.
_KEYS: Final[Mapping[str, str]] = {
    "services.split": "s",
    "services.undo": "u",
    "services.promote": "f",
    "jobs.cancel": "x",
    "prompts.label": "L",
    "prompts.undo": "u",
    "rollouts.start": "n",
    "rollouts.promote": "f",
    "rollouts.pause": "P",
    "rollouts.abort": "x",
    "rollouts.retry": "R",
    "rollouts.undo": "u",
    "incidents.open": "n",
    "incidents.note": "N",
    "incidents.assign": "c",
    "incidents.stable": "f",
    "incidents.close": "x",
    "incidents.reopen": "u",
    "alerts.ack": "A",
    "alerts.unack": "u",
    "alerts.close": "x",
    "alerts.silence": "Z",
    "alerts.maintain": "M",
    "alerts.unsilence": "E",
    "alerts.test_receiver": "B",
    "ab_tests.promote": "f",
    "ab_tests.stop": "x",
    "runbooks.start": "n",
    "runbooks.next": "G",
    "runbooks.confirm": "C",
    "runbooks.skip": "S",
    "runbooks.retry": "R",
    "runbooks.note": "N",
    "runbooks.take": "T",
    "runbooks.hand_over": "H",
    "runbooks.abort": "x",
    "runbooks.undo": "u",
}

# Looking: places and moves of the screen, and the commands that only show.
_LOOKS: Final[tuple[tuple[str, str, str, str], ...]] = (
    *(
        (where.name, where.key, where.sentence, where.command)
        for where in keymap.PLACES.values()
        if where.key
    ),
    ("open", "enter", "Open the row under the cursor", "requests show ID"),
    ("back", "escape", "Back to where you came from; always works", ""),
    ("previous", "minus", "The place before this one", ""),
    ("goto", "colon", "Go to a place by its name", ""),
    ("filter", "slash", "Show only rows that contain a text; empty: all of them", ""),
    ("freeze", "space", "Freeze the screen, never the recording", ""),
    ("compare", "d", "Compare the other rows with this one", "releases diff A B"),
    ("copy", "y", "Copy the row to the clipboard", ""),
    ("arm", "", "Allow changes from this screen for 15 minutes", ""),
    ("disarm", "", "Read-only again", ""),
    ("at", "", "Show the box as it was at a past moment; :now returns", "status --at 03:12"),
    ("now", "", "Back from the past", "status"),
    ("quit", "q", "Quit the screen; the node keeps running", ""),
)


def _table() -> dict[str, Action]:
    rows = [
        Action(
            name=verb.name,
            noun=verb.noun,
            verb=verb.name.partition(".")[2],
            key=_KEYS.get(verb.name, ""),
            danger=verb.danger,
            sentence=verb.sentence,
            command=verb.command,
            asks_reason=verb.why is not Why.OPTIONAL,
            needs_reason=verb.why is Why.REQUIRED,
        )
        for verb in verbs.TABLE.values()
    ]
    promote = next(row for row in rows if row.name == "rollouts.promote")
    rows.append(
        replace(
            promote,
            name="rollouts.promote_fully",
            verb="promote fully",
            key="F",
            sentence="Promote a rollout to its end at once, without further steps",
            command="rollouts promote SERVICE --full",
            intent=promote.name,
        )
    )
    undo = next(row for row in rows if row.name == "rollouts.undo")
    rows.append(
        replace(
            undo,
            name="rollouts.undo_to",
            verb="undo to",
            key="U",
            sentence="Go back to a revision of a service",
            command="rollouts undo SERVICE --to-revision N",
            intent=undo.name,
        )
    )
    rows.append(
        Action(
            name="node.stop",
            noun="node",
            verb="stop",
            key="",
            danger=Danger.REVERSIBLE,  # `paddock serve` brings it back
            asks_reason=True,
            sentence="Stop the node: answers in progress have 15 seconds to finish",
            command="stop",
        )
    )
    rows += [
        Action(
            name="store.backup",
            noun="store",
            verb="backup",
            key="",
            danger=Danger.LOOK,
            sentence="Copy the store into a file, beside a running node",
            command="backup FILE",
        ),
        Action(
            name="store.restore",
            noun="store",
            verb="restore",
            key="",
            danger=Danger.HARD,
            sentence="Make a backup the store of this box; the current store is set aside",
            command="restore FILE",
        ),
    ]
    rows += [
        Action(
            name=f"look.{verb}",
            noun="look",
            verb=verb,
            key=key,
            danger=Danger.LOOK,
            sentence=sentence,
            command=command,
        )
        for verb, key, sentence, command in _LOOKS
    ]
    return {row.name: row for row in rows}


TABLE: Final[Mapping[str, Action]] = MappingProxyType(_table())
