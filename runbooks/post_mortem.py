"""The post-mortem of an incident as Markdown: figures from the store, words from people.

What was counted is filled in; an unwritten section is left as a question to answer.
Pure but for `read`. Imported by `app`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from storage import incident_impacts, incident_timelines, post_mortems
from storage.home import config
from storage.incident_impacts import Impact, Met
from storage.incident_timelines import Line, Source
from storage.incidents import Incident, Kind, Role, Section, State
from storage.post_mortems import ActionItem
from storage.store import Session

_SECOND_US: Final = 1_000_000
_MINUTE_US: Final = 60 * _SECOND_US
_SPECIAL: Final = re.compile(r"([\\`*_\[\]<>|#])")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")

_SECTIONS: Final = (
    (Section.ROOT_CAUSE, "Root cause", "Why was it possible at all?"),
    (Section.TRIGGER, "Trigger", "What set it off at this moment?"),
    (Section.DETECTION, "Detection", "Who or what noticed it, and could that have been sooner?"),
    (Section.RESOLUTION, "Resolution", "What ended it?"),
    (Section.WENT_WELL, "What went well", "What helped?"),
    (Section.WENT_WRONG, "What went wrong", "What made it worse or longer?"),
    (Section.GOT_LUCKY, "Where we got lucky", "What could have made it worse and did not?"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class PostMortem:
    """Everything that a post-mortem is made of."""

    incident: Incident
    impact: Impact
    timeline: Sequence[Line]
    sections: dict[Section, str]
    items: Sequence[ActionItem]


async def read(
    s: Session, incident: Incident, now_us: int, price: config.Price | None = None
) -> PostMortem:
    """Collect it from the store."""
    return PostMortem(
        incident=incident,
        impact=await incident_impacts.count(s, incident, now_us, price),
        timeline=await incident_timelines.read(s, incident, now_us),
        sections=await post_mortems.sections(s, incident.id),
        items=await post_mortems.items(s, incident.id),
    )


def markdown(found: PostMortem) -> str:
    """The document, ending with a line break."""
    incident = found.incident
    lines = [f"# {incident.name}: {text(incident.title)}", "", *_facts(found), ""]
    lines += ["## Summary", "", *_written(found, Section.SUMMARY, "What happened, in two lines?")]
    lines += ["", "## Impact", "", *_impact(found.impact), ""]
    for section, title, question in _SECTIONS:
        lines += [f"## {title}", "", *_written(found, section, question), ""]
    lines += ["## Action items", "", *_items(found), ""]
    lines += ["## Timeline", "", "All times are UTC.", "", *_timeline(found)]
    return "\n".join(lines) + "\n"


def text(said: str) -> str:
    """What a person or a client wrote, as one line that Markdown takes literally."""
    return _SPECIAL.sub(r"\\\1", _CONTROL.sub(" ", said).strip())


def _facts(found: PostMortem) -> list[str]:
    incident, impact = found.incident, found.impact
    service = "the whole box" if incident.service is None else incident.service
    noticed = incident.opened_at_us - incident.began_at_us
    rows = [
        ("Service", service),
        ("Severity", incident.severity.value),
        ("State", incident.state.value),
        ("Began", _moment(incident.began_at_us)),
        ("Opened", f"{_moment(incident.opened_at_us)} by {text(incident.opened_by)}"),
        ("Noticed after", _span(noticed)),
    ]
    if incident.state is State.ACTIVE:
        rows.append(("Ended", f"not yet; affected for {_span(impact.end_us - impact.begin_us)}"))
    else:
        spent = _span(impact.end_us - impact.begin_us)
        rows.append(("Ended", f"{_moment(impact.end_us)}, after {spent}"))
    rows += [(role.value.title(), text(incident.roles[role])) for role in Role
             if role in incident.roles]  # fmt: skip
    return [f"- **{name}**: {value}" for name, value in rows]


def _written(found: PostMortem, section: Section, question: str) -> list[str]:
    """What people wrote, which is Markdown already; else the question that it answers."""
    written = found.sections.get(section)
    if not written:
        return [f"_{question}_"]
    return [_CONTROL.sub(" ", line.expandtabs(4)) for line in written.splitlines()]


def _impact(impact: Impact) -> list[str]:
    if not impact.services:
        return ["No client sent a request in this time."]
    titles = ("service", "requests", "failed", "refused", "users", "keys", "error rate", "p95")
    rows = [
        f"| {' | '.join(titles)} |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        *map(_row, impact.services),
        "",
        f"In brackets: the hour before it began. {_money(impact)}",
    ]
    if not impact.final:
        rows += ["", "The incident is active: these figures grow."]
    return rows


def _money(impact: Impact) -> str:
    """What the requests of this time cost."""
    known = [each.spent_micro for each in impact.services if each.spent_micro is not None]
    if not known:
        return "Nothing has a price, so the money is not known."
    spent = f"{sum(known) / 1_000_000:.4f} {impact.currency}"
    return f"The requests of the quarter hours that it touches cost {spent}."


def _row(met: Met) -> str:
    errors = f"{_share(met.error_rate)} ({_share(met.error_rate_before)})"
    slow = f"{_time(met.latency_p95)} ({_time(met.latency_p95_before)})"
    cells = (
        text(met.service), met.requests, met.failed, met.refused, met.users, met.keys, errors, slow
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _items(found: PostMortem) -> Iterable[str]:
    if not found.items:
        return ["_What will be done so that it does not happen again, and by whom?_"]
    return [
        f"- [{'x' if item.done_at_us else ' '}] {text(item.title)} ({text(item.owner)}, {item.id})"
        for item in found.items
    ]


def _timeline(found: PostMortem) -> Iterable[str]:
    day = ""
    for line in found.timeline:
        at = datetime.fromtimestamp(line.at_us // _SECOND_US, UTC)
        if day != (day := f"{at:%Y-%m-%d}"):
            yield f"**{day}**"
            yield ""
        said = text(line.sentence)
        if line.source is not Source.INCIDENT:
            said = f"{line.source}: {said}"
        elif line.kind not in {Kind.NOTE, Kind.MOVED, None}:
            said = f"**{line.kind}**: {said}"
        linked = " (linked)" if line.linked else ""
        yield f"- {at:%H:%M:%S} {text(line.actor)}: {said}{linked}"


def _moment(at_us: int) -> str:
    return f"{datetime.fromtimestamp(at_us // _SECOND_US, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _span(spent_us: int) -> str:
    """A time in words: 3 min, 2 h 5 min."""
    minutes, seconds = divmod(max(spent_us, 0) // _SECOND_US, 60)
    if minutes < 1:
        return f"{seconds} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"


def _share(value: float | None) -> str:
    return "not measured" if value is None else f"{value * 100:.3g} %"


def _time(value_us: float | None) -> str:
    return "not measured" if value_us is None else f"{value_us / _SECOND_US:.3g} s"
