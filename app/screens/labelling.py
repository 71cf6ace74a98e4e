"""Moving the labels of a prompt from the screen: what may be offered, with its effect.

Pure functions of what is on the screen; control checks all of it again. Imported by the places of
prompts.
"""

from __future__ import annotations

from typing import Final

from app import snapshot
from app.screens.offered import Verb
from app.screens.place import Offer
from storage import names
from storage.errors import BadName

VERBS: Final = (
    Verb("prompts.label", "L", "label", "point a label at this version"),
    Verb("prompts.undo", "u", "undo"),
)
NAMES: Final = tuple(verb.name for verb in VERBS)
_PRODUCTION: Final = "production"
_LATEST: Final = "latest"
_ADMIN: Final = "admin"
_HINT: Final = "the label's name; enter shows the effect"


def offer(
    name: str, version: snapshot.Prompt | None, role: str, typed: str | None = None
) -> Offer | None:
    """What an action would do to a label; None where it is about something else."""
    if name not in NAMES:
        return None
    if version is None:
        return Offer(unable="there is no version under the cursor")
    return _label(version, role, typed) if name == "prompts.label" else _undo(version, role, typed)


def _label(version: snapshot.Prompt, role: str, typed: str | None) -> Offer:
    """Point the label that is typed at the version."""
    if typed is None:
        return Offer(form=_PRODUCTION, hint=_HINT)
    label, known = typed.strip(), _known(version)
    if why := _unable(version, label, role):
        return Offer(unable=why, form=typed, hint=_HINT)
    found = known.get(label)
    effect = f"{version.prompt}:{label} nothing → {version.name}"
    if found is not None:
        effect = found.effect + (f" ▲ {found.caution}" if found.caution else "")
    return Offer(
        target=version.prompt,
        arguments={"label": label, "number": version.number},
        expected_version=0 if found is None else found.number,
        effect=f"label: {effect}",
    )


def _undo(version: snapshot.Prompt, role: str, typed: str | None) -> Offer:
    """Move a label that points at the version back to where it was; several: which is typed."""
    here = [each for each in version.labels if each.number == version.number]
    if not here:
        return Offer(unable=f"no label points at {version.name}")
    if typed is None and len(here) > 1:
        return Offer(form=here[0].label, hint=_HINT)
    label = here[0].label if typed is None else typed.strip()
    found = next((each for each in here if each.label == label), None)
    if found is None:
        why = f"the labels here are {', '.join(each.label for each in here)}"
        return Offer(unable=why, form=typed, hint=_HINT)
    if why := found.no_undo or _protected(version, found, role):
        return Offer(unable=why, form=typed, hint=_HINT)
    return Offer(
        target=version.prompt,
        arguments={"label": label, "to": found.undo_to},
        effect=f"undo: {found.undo_effect}",
    )


def _known(version: snapshot.Prompt) -> dict[str, snapshot.PromptLabel]:
    return {each.label: each for each in version.labels}


def _unable(version: snapshot.Prompt, label: str, role: str) -> str:
    """Why a label cannot point at a version; empty where it can."""
    if label == _LATEST:
        return "`latest` moves by itself; type another label"
    try:
        names.check("label", label)
    except BadName as error:
        return str(error).rstrip(".")
    found = _known(version).get(label)
    if found is None:
        return ""
    if found.number == version.number:
        return f"{version.prompt}:{label} is at {version.name} already"
    return _protected(version, found, role)


def _protected(version: snapshot.Prompt, label: snapshot.PromptLabel, role: str) -> str:
    if label.protected and role != _ADMIN:
        return f"{version.prompt}:{label.label} is protected; only admins move it"
    return ""
