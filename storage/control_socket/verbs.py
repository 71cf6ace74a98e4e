"""The table of verbs: what an intent may ask for, who may ask, and which process carries it out.

A new verb takes three places: its arguments and its row here, its handler in
`engine/control/<noun>.py` (declared with `handlers.handles`), its command in
`app/commands/<noun>.py`. The control socket checks every intent against this table; screens and
help read it. Never acts. Imported by clients of the control socket and by the processes behind it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from storage import ab_test_goals, model_aliases, models, names, rollout_steps, upstreams
from storage.ab_test_goals import MOST_GOALS, Goal
from storage.errors import BadArguments, BadName, Invalid
from storage.home import secrets
from storage.keys import Role
from storage.models import Kind
from storage.prompts import Message, Variable
from storage.releases import Engine, Limits, Sampling, Server, Upstream
from storage.rollout_steps import HOUR_S, MOST_GUARDS, MOST_STEPS, Guard, Step, Strategy

__all__ = [
    "TABLE",
    "BadArguments",
    "Danger",
    "Process",
    "Verb",
    "Why",
    "carried_out_by",
    "check",
    "parse",
]

Name = Annotated[str, Meta(pattern=f"^{names.PATTERN}$", max_length=36)]
Reference = Annotated[str, Meta(min_length=1, max_length=120)]
Line = Annotated[str, Meta(max_length=2000)]
Release = Annotated[str, Meta(pattern=r"^(r[0-9]{1,18}|[0-9a-f]{6,64})$")]
Tag = Annotated[str, Meta(min_length=5, max_length=40)]
Number = Annotated[int, Meta(ge=1, le=2**31)]
Messages = Annotated[tuple[Message, ...], Meta(min_length=1, max_length=100)]
Variables = Annotated[tuple[Variable, ...], Meta(max_length=100)]
_Seconds = Annotated[float, Meta(gt=0, le=3600)]
_Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]
_UrlPath = Annotated[str, Meta(min_length=1, max_length=512)]


class Danger(StrEnum):
    """How much confirmation an action needs before it is carried out."""

    LOOK = "look"  # changes nothing
    REVERSIBLE = "reversible"  # one confirmation that names the target and the effect
    HARD = "hard"  # hard to reverse: the intent must repeat the target's name


class Arguments(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the arguments of all verbs have in common: unknown fields are refused."""


class NoArguments(Arguments, frozen=True, kw_only=True):
    """The verb needs its target only."""


class ModelsAdd(Arguments, frozen=True, kw_only=True):
    """A model file as a version; `base` names the weights that an adapter belongs on.

    `path` is a path of this machine, or an address: https://, hf://, mlflow:, or one of fsspec;
    `secret` refers to the
    deposited query of an https:// address, which may hold a token. `sha256` is what the file has
    to have. `parent`, `dataset` and `run` are what the version was made from, and how.
    """

    model: Name
    version: Annotated[str, Meta(max_length=40)]
    path: Annotated[str, Meta(min_length=1, max_length=4096)]
    secret: Annotated[str, Meta(pattern=f"^{secrets.PATTERN}$")] | None = None
    kind: Kind = Kind.WEIGHTS
    base: Reference | None = None
    licence: Line | None = None
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None
    parent: Reference | None = None
    dataset: Reference | None = None
    run: Reference | None = None

    def __post_init__(self) -> None:
        """Refuse what is not a semantic version, and an address that would record a token."""
        if self.path.lower().startswith(("https://", "http://")) and "?" in self.path:
            raise ValueError(
                "The query of an address may hold a token and would be recorded; "
                "`paddock models add` deposits it as a secret - at `$.path`"
            )
        if "://" in self.path and "@" in self.path.split("/")[2]:
            raise ValueError("A password in a URL would be recorded; remove it - at `$.path`")
        try:
            models.check_version(self.version)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.version`") from error


class ModelsAlias(Arguments, frozen=True, kw_only=True):
    """Point an alias of the target, a model, at one of its versions."""

    alias: Annotated[str, Meta(max_length=36)]
    version: Annotated[str, Meta(max_length=40)]

    def __post_init__(self) -> None:
        """Refuse what cannot be an alias or a version before it is stored."""
        try:
            model_aliases.check(self.alias)
        except (Invalid, BadName) as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.alias`") from error
        try:
            models.check_version(self.version)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.version`") from error


class ModelsUnalias(Arguments, frozen=True, kw_only=True):
    """Remove an alias of the target, a model."""

    alias: Annotated[str, Meta(max_length=36)]


class ModelsTrace(Arguments, frozen=True, kw_only=True):
    """What the target, a model version, was made from; what is left out is not known."""

    parent: Reference | None = None
    dataset: Reference | None = None
    run: Reference | None = None


class ModelsExport(Arguments, frozen=True, kw_only=True):
    """Where the target, a model version, is exported to: a path, or mlflow:models:/name."""

    to: Annotated[str, Meta(min_length=1, max_length=4096, pattern=r"^(/|mlflow:)")]


class ModelsGc(Arguments, frozen=True, kw_only=True):
    """Whether to remove, first, the downloaded versions that no release, alias or adapter needs."""

    unused: bool = False


class PromptsAdd(Arguments, frozen=True, kw_only=True):
    """The next version of a prompt."""

    prompt: Name
    messages: Messages
    variables: Variables = ()
    response_schema: dict[str, Any] | None = None
    tag: Tag | None = None
    parent: Number | None = None
    comment: Line = ""


class PromptsLabel(Arguments, frozen=True, kw_only=True):
    """Point a label of the target at one of its versions."""

    label: Name
    number: Number


class PromptVersionImport(Arguments, frozen=True, kw_only=True):
    """One version as a tree of files has it; without `author` it is the person who imports it."""

    prompt: Name
    number: Number
    messages: Messages
    variables: Variables = ()
    response_schema: dict[str, Any] | None = None
    tag: Tag | None = None
    parent: Number | None = None
    author: Annotated[str, Meta(min_length=1, max_length=200)] | None = None
    comment: Line = ""
    created_at_us: Annotated[int, Meta(ge=0, le=2**53)] | None = None


class PromptsImport(Arguments, frozen=True, kw_only=True):
    """Versions with their numbers, all of them or none; `dry_run` checks and changes nothing."""

    versions: Annotated[tuple[PromptVersionImport, ...], Meta(min_length=1, max_length=10_000)]
    dry_run: bool = False


class PromptsUndo(Arguments, frozen=True, kw_only=True):
    """A label of the target, and the move of it to go back to, by its id."""

    label: Name
    to: Annotated[int, Meta(ge=1, le=2**53)]


class PromptsProtect(Arguments, frozen=True, kw_only=True):
    """A label of the target that only admins move, or no longer."""

    label: Name


class ReleasesCreate(Arguments, frozen=True, kw_only=True):
    """What answers: a model version, an upstream or a server; a prompt version; settings.

    Without `upstream` and `server` the release is local, with the defaults of `engine` if omitted.
    `follow`: `prompt` names a label, and each of its moves makes the next release.
    """

    model: Reference | None = None
    prompt: Reference | None = None
    follow: bool = False
    sampling: Sampling = Sampling()
    limits: Limits = Limits()
    engine: Engine | None = None
    upstream: Upstream | None = None
    server: Server | None = None
    comment: Line = ""


class DeploymentsScale(Arguments, frozen=True, kw_only=True):
    """How many instances of the target are wanted; control says which numbers are allowed."""

    replicas: Annotated[int, Meta(ge=-(2**31), le=2**31)]


class ServicesCreate(Arguments, frozen=True, kw_only=True):
    """The first release of a service, whether texts are kept, and whose staging it is."""

    release: Release
    record_text: bool = False
    staging_of: Name | None = None


class ServicesSplit(Arguments, frozen=True, kw_only=True):
    """Basis points by release; they add up to 10000."""

    arms: Annotated[
        dict[Release, Annotated[int, Meta(ge=0, le=10_000)]], Meta(min_length=1, max_length=32)
    ]

    def __post_init__(self) -> None:
        """Refuse weights that do not add up to 10000."""
        _check_total(self.arms.values())


class ManifestArm(Arguments, frozen=True, kw_only=True):
    """What answers a share of a service's requests."""

    weight_bp: Annotated[int, Meta(ge=1, le=10_000)] = 10_000
    release: ReleasesCreate


class ManifestsApply(Arguments, frozen=True, kw_only=True):
    """What the target should be: its arms, by their content; texts kept or not; whose staging.

    The service and the releases that do not exist are created.
    """

    arms: Annotated[tuple[ManifestArm, ...], Meta(min_length=1, max_length=32)]
    record_text: bool = False
    staging_of: Name | None = None

    def __post_init__(self) -> None:
        """Refuse weights that do not add up to 10000."""
        _check_total([arm.weight_bp for arm in self.arms])


class ServicesUndo(Arguments, frozen=True, kw_only=True):
    """The split to go back to: by its id, or as the one that an intent replaced."""

    to: Annotated[int, Meta(ge=1, le=2**53)] | None = None
    intent: Annotated[int, Meta(ge=1, le=2**53)] | None = None

    def __post_init__(self) -> None:
        """Refuse an undo that does not name its target: it would toggle."""
        if (self.to is None) == (self.intent is None):
            raise ValueError("name the split to go back to, or the intent to undo - at `$.to`")


class ServicesSet(Arguments, frozen=True, kw_only=True):
    """Whether texts of requests are recorded from now on."""

    record_text: bool


class ServicesRemove(Arguments, frozen=True, kw_only=True):
    """Whether to remove a service that answered requests within the last minutes."""

    despite_traffic: bool = False


class RolloutsStart(Arguments, frozen=True, kw_only=True):
    """The candidate, and the steps to it; without `steps` and `guards` those of the strategy.

    `load_timeout_s` bounds the wait for the candidate to load. Within `rollback_window_s` after a
    rollout the release that lost the traffic stays loaded, and going back to it skips the steps.
    """

    release: Release
    strategy: Strategy = Strategy.CANARY
    steps: Annotated[tuple[Step, ...], Meta(min_length=1, max_length=MOST_STEPS)] | None = None
    guards: Annotated[tuple[Guard, ...], Meta(max_length=MOST_GUARDS)] | None = None
    load_timeout_s: Annotated[int, Meta(ge=1, le=24 * HOUR_S)] = HOUR_S // 2
    rollback_window_s: Annotated[int, Meta(ge=0, le=30 * 24 * HOUR_S)] = HOUR_S

    def __post_init__(self) -> None:
        """Refuse steps that do not lead to all of the traffic, or do so by time alone."""
        guards = rollout_steps.GUARDS if self.guards is None else self.guards
        try:
            steps = self.steps or rollout_steps.DEFAULTS[self.strategy]
            rollout_steps.fits(self.strategy, steps, guards)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.strategy`") from error
        if self.steps is not None:
            if (at := rollout_steps.ungated(self.steps)) is not None:
                said = f"step {at + 1} needs an analysis, or a pause without an end, after it"
                raise ValueError(f"{said} - at `$.steps`")
            try:
                rollout_steps.check(self.steps, guards)
            except Invalid as error:
                raise ValueError(f"{str(error).rstrip('.')} - at `$.steps`") from error


class ReplaysRequest(Arguments, frozen=True, kw_only=True):
    """The release on which the recorded request that is the target is asked again."""

    release: Release


class ReplaysSample(Arguments, frozen=True, kw_only=True):
    """A sample of a service's recorded requests, to ask the target, a release.

    `since_s` is how far back the requests may have arrived, None: as far as texts are kept.
    """

    service: Name
    sample: Annotated[int, Meta(ge=1, le=2_000)] = 100
    since_s: Annotated[int, Meta(ge=1, le=10 * 365 * 24 * HOUR_S)] | None = None


class ReplaysBisect(Arguments, frozen=True, kw_only=True):
    """The recorded request to ask the releases of the target, a service, until one differs.

    `expect` is a text that the good answers contain; without it they are those that equal the
    answer of the oldest release.
    """

    request: Reference
    expect: Annotated[str, Meta(min_length=1, max_length=10_000)] | None = None


class ServicesPromote(Arguments, frozen=True, kw_only=True):
    """How the release of the target, a staging, is led to the traffic of its production."""

    strategy: Strategy = Strategy.CANARY


_Rollout = Annotated[int, Meta(ge=1, le=2**53)]


class RolloutsOf(Arguments, frozen=True, kw_only=True):
    """The rollout of the target that the person saw, by its number."""

    rollout: _Rollout


class RolloutsPromote(Arguments, frozen=True, kw_only=True):
    """The rollout of the target; `full` skips all of its steps."""

    rollout: _Rollout
    full: bool = False


class RolloutsUndo(Arguments, frozen=True, kw_only=True):
    """The rollout of the target to undo, or the revision to go to; 0 is before the first."""

    rollout: _Rollout | None = None
    to_revision: Annotated[int, Meta(ge=0, le=2**53)] | None = None

    def __post_init__(self) -> None:
        """Refuse an undo that does not name its target: it would toggle."""
        if (self.rollout is None) == (self.to_revision is None):
            raise ValueError("name the rollout to undo, or the revision to go to - at `$.rollout`")


class AbTestsStart(Arguments, frozen=True, kw_only=True):
    """The arms in basis points, the goals (the first decides), and when the test ends.

    Without `guards` the error rate is guarded. `least_units` of each arm come before a conclusion,
    `at_most_s` bounds the test, `load_timeout_s` the wait for its arms to load. `promotes` gives a
    winner all of the traffic; `label` of its prompt then points at its version.
    """

    arms: Annotated[
        dict[Release, Annotated[int, Meta(ge=1, lt=10_000)]], Meta(min_length=2, max_length=8)
    ]
    goals: Annotated[tuple[Goal, ...], Meta(min_length=1, max_length=MOST_GOALS)]
    guards: Annotated[tuple[Guard, ...], Meta(max_length=MOST_GUARDS)] | None = None
    least_units: Annotated[int, Meta(ge=20, le=100_000)] = 200
    at_most_s: Annotated[int, Meta(ge=60, le=90 * 24 * HOUR_S)] = 14 * 24 * HOUR_S
    load_timeout_s: Annotated[int, Meta(ge=1, le=24 * HOUR_S)] = HOUR_S // 2
    promotes: bool = False
    label: Name | None = None

    def __post_init__(self) -> None:
        """Refuse weights that do not add up, metrics named twice, a label without promotion."""
        _check_total(self.arms.values())
        try:
            ab_test_goals.check(self.goals)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.goals`") from error
        try:
            rollout_steps.of_requests(self.guards or ())
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.guards`") from error
        if self.label is not None and not self.promotes:
            raise ValueError("a label moves only if the winner is promoted - at `$.label`")


_AbTest = Annotated[int, Meta(ge=1, le=2**53)]


class AbTestsOf(Arguments, frozen=True, kw_only=True):
    """The A/B test of the target that the person saw, by its number."""

    ab_test: _AbTest


class AbTestsPromote(Arguments, frozen=True, kw_only=True):
    """The A/B test of the target; without `release` its winner gets all of the traffic."""

    ab_test: _AbTest
    release: Release | None = None
    label: Name | None = None


class KeysAdd(Arguments, frozen=True, kw_only=True):
    """A key by its hash; the secret stays where it was made.

    The client sends `sha256`; the node stores its HMAC in the intent, as `mac`, and not the hash.
    """

    name: Name
    prefix: Annotated[str, Meta(pattern=r"^pk-[A-Za-z0-9_-]{4,13}$")]
    sha256: _Sha256 | None = None
    mac: _Sha256 | None = None
    role: Role = Role.CLIENT
    tenant: Name
    synthetic: bool = False

    def __post_init__(self) -> None:
        """Refuse a key with neither and with both."""
        if (self.sha256 is None) == (self.mac is None):
            raise ValueError("give the SHA-256 of the key's secret - at `$.sha256`")


class KnobsSet(Arguments, frozen=True, kw_only=True):
    """A knob of the target deployment and its value."""

    name: Annotated[str, Meta(max_length=40)]
    value: Annotated[int, Meta(ge=0, le=2**53)]


class KnobsUndo(Arguments, frozen=True, kw_only=True):
    """A knob of the target deployment, and the setting of it to undo, by its id."""

    name: Annotated[str, Meta(max_length=40)]
    setting: Annotated[int, Meta(ge=1, le=2**53)]


class UpstreamsAdd(Arguments, frozen=True, kw_only=True):
    """The target is an OpenAI-compatible server; `secret` refers to its deposited API key."""

    url: Annotated[str, Meta(min_length=1, max_length=2048)]
    secret: Annotated[str, Meta(pattern=f"^{secrets.PATTERN}$")] | None = None
    max_connections: int = upstreams.MAX_CONNECTIONS
    connect_s: _Seconds = upstreams.CONNECT_US / 1e6
    first_event_s: _Seconds = upstreams.FIRST_EVENT_US / 1e6
    read_s: _Seconds = upstreams.READ_US / 1e6
    health_path: _UrlPath = upstreams.HEALTH_PATH
    metrics_path: _UrlPath | None = None
    extensions: bool = True
    scores: bool | None = None

    def __post_init__(self) -> None:
        """Refuse a url that cannot be used before it is stored: it may hold a password."""
        try:
            upstreams.normalised(self.url)
        except Invalid as error:
            raise ValueError(f"{str(error).rstrip('.')} - at `$.url`") from error


class UpstreamsRekey(Arguments, frozen=True, kw_only=True):
    """The deposited API key that the target uses from now on; None is no key."""

    secret: Annotated[str, Meta(pattern=f"^{secrets.PATTERN}$")] | None


class RunbooksStart(Arguments, frozen=True, kw_only=True):
    """What the runbook asks for before it begins; `content` is the hash of what was shown."""

    inputs: dict[str, Any] = {}
    content: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")] | None = None


class Process(StrEnum):
    """The processes that carry verbs out, by the name under which the node runs them."""

    CONTROL = "control"
    RUNNER = "runner"


class Why(StrEnum):
    """Whether an intent with this verb says why."""

    OPTIONAL = "optional"  # as the person likes
    ASKED = "asked"  # screen and command line ask for a reason; it may be empty
    REQUIRED = "required"  # without a reason the control socket refuses it


class Verb(msgspec.Struct, frozen=True):
    """One row of the table. `command` is its form on the command line, after `paddock`."""

    name: str
    arguments: type[Arguments]
    role: Role
    danger: Danger
    process: Process
    sentence: str
    command: str
    why: Why = Why.OPTIONAL

    @property
    def noun(self) -> str:
        """What the verb is about: `services` of `services.split`."""
        return self.name.partition(".")[0]


_CONTROL: Final = Process.CONTROL
_RUNNER: Final = Process.RUNNER
_ADMIN: Final = Role.ADMIN
_OPERATOR: Final = Role.OPERATOR
_REVERSIBLE: Final = Danger.REVERSIBLE
_HARD: Final = Danger.HARD

_ROWS: Final[tuple[Verb, ...]] = (
    Verb(
        "models.add", ModelsAdd, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Register a model version",
        "models add SOURCE --name NAME --version 1.0.0 [--base NAME@1.0.0]",
    ),
    Verb(
        "models.alias", ModelsAlias, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Point an alias at a model version",
        "models alias NAME@1.0.0 ALIAS",
        Why.ASKED,
    ),
    Verb(
        "models.unalias", ModelsUnalias, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Remove an alias of a model",
        "models unalias NAME ALIAS",
        Why.ASKED,
    ),
    Verb(
        "models.trace", ModelsTrace, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Record what a model version was made from",
        "models trace NAME@1.0.0 [--parent NAME@1.0.0] [--dataset D] [--run R]",
    ),
    Verb(
        "models.export", ModelsExport, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Export a model version as a Hub repository or to MLflow",
        "models export NAME@1.0.0 --to DIR",
    ),
    Verb(
        "models.remove", NoArguments, _OPERATOR, _HARD, _CONTROL,
        "Remove a model version and its downloaded file",
        "models remove NAME@1.0.0",
        Why.ASKED,
    ),
    Verb(
        "models.gc", ModelsGc, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Delete downloaded model files that nothing needs",
        "models gc [--unused] [--dry-run]",
        Why.ASKED,
    ),
    Verb(
        "prompts.add", PromptsAdd, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Add a prompt version",
        "prompts add FILE",
    ),
    Verb(
        "prompts.label", PromptsLabel, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Move a prompt's label",
        "prompts label NAME@NUMBER LABEL",
        Why.ASKED,
    ),
    Verb(
        "prompts.import", PromptsImport, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Import prompt versions from files",
        "prompts import DIR [NAME] [--dry-run]",
    ),
    Verb(
        "prompts.undo", PromptsUndo, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Move a prompt's label back",
        "prompts undo NAME:LABEL [--to MOVE]",
        Why.ASKED,
    ),
    Verb(
        "prompts.protect", PromptsProtect, _ADMIN, _REVERSIBLE, _CONTROL,
        "Let only admins move a prompt's label",
        "prompts protect NAME:LABEL",
        Why.ASKED,
    ),
    Verb(
        "prompts.unprotect", PromptsProtect, _ADMIN, _REVERSIBLE, _CONTROL,
        "Let operators move a prompt's label again",
        "prompts unprotect NAME:LABEL",
        Why.ASKED,
    ),
    Verb(
        "releases.create", ReleasesCreate, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Create a release",
        "releases create --model NAME@1.0.0 [--prompt NAME@1]",
    ),
    Verb(
        "releases.smoke", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Ask a release a few requests, all of which it has to answer",
        "releases smoke r2",
    ),
    Verb(
        "releases.retire", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Retire a release: it gets no traffic any more",
        "releases retire r2",
        Why.ASKED,
    ),
    Verb(
        "releases.unretire", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Bring a retired release back",
        "releases unretire r2",
        Why.ASKED,
    ),
    Verb(
        "deployments.scale", DeploymentsScale, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Set how many instances a deployment has",
        "deployments scale NAME REPLICAS",
        Why.ASKED,
    ),
    Verb(
        "deployments.restart", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Start a failing deployment again",
        "deployments restart NAME",
        Why.ASKED,
    ),
    Verb(
        "services.create", ServicesCreate, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Create a service",
        "services create NAME --release r1 [--record-text]",
    ),
    Verb(
        "manifests.apply", ManifestsApply, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Make a service what a manifest says",
        "apply -f FILE",
        Why.ASKED,
    ),
    Verb(
        "services.split", ServicesSplit, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Set a service's split",
        "services split NAME r1=90 r2=10",
        Why.ASKED,
    ),
    Verb(
        "services.undo", ServicesUndo, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Go back to an earlier split",
        "services undo NAME [--to SPLIT]",
        Why.ASKED,
    ),
    Verb(
        "services.freeze", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Freeze a service's split against changes",
        "services freeze NAME --reason WHY",
        Why.REQUIRED,
    ),
    Verb(
        "services.unfreeze", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Allow changes of a service's split again",
        "services unfreeze NAME",
        Why.ASKED,
    ),
    Verb(
        "box.freeze", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Freeze the box against changes of what answers requests",
        "freeze --reason WHY",
        Why.REQUIRED,
    ),
    Verb(
        "box.unfreeze", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Allow changes on the box again",
        "unfreeze",
        Why.ASKED,
    ),
    Verb(
        "services.set", ServicesSet, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Record the texts of requests, or no longer",
        "services set NAME --record-text",
        Why.ASKED,
    ),
    Verb(
        "services.promote", ServicesPromote, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Start a rollout of a staging's release to its production",
        "services promote NAME [--strategy canary]",
        Why.ASKED,
    ),
    Verb(
        "services.remove", ServicesRemove, _OPERATOR, _HARD, _CONTROL,
        "Remove a service for good",
        "services remove NAME [--despite-traffic]",
        Why.ASKED,
    ),
    Verb(
        "rollouts.start", RolloutsStart, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Start a rollout of a release",
        "rollouts start SERVICE --to r2 [--strategy canary]",
        Why.ASKED,
    ),
    Verb(
        "rollouts.plan", RolloutsStart, Role.VIEWER, Danger.LOOK, _CONTROL,
        "Say what a rollout would find, and how long it would take",
        "rollouts plan SERVICE --to r2 [--strategy canary]",
    ),
    Verb(
        "rollouts.pause", RolloutsOf, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Pause a rollout before its next step",
        "rollouts pause SERVICE",
        Why.ASKED,
    ),
    Verb(
        "rollouts.promote", RolloutsPromote, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Lead a rollout to its next step, or to its end",
        "rollouts promote SERVICE [--full]",
        Why.ASKED,
    ),
    Verb(
        "rollouts.abort", RolloutsOf, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Abort a rollout: all traffic back to the stable release",
        "rollouts abort SERVICE",
        Why.ASKED,
    ),
    Verb(
        "rollouts.retry", RolloutsOf, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Begin an aborted rollout again",
        "rollouts retry SERVICE",
        Why.ASKED,
    ),
    Verb(
        "rollouts.undo", RolloutsUndo, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Go back to the release before a rollout",
        "rollouts undo SERVICE [--to-revision N]",
        Why.ASKED,
    ),
    Verb(
        "ab_tests.start", AbTestsStart, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Start an A/B test between releases",
        "ab-tests start SERVICE --arm r1=50 --arm r2=50 --goal thumbs_up",
        Why.ASKED,
    ),
    Verb(
        "ab_tests.stop", AbTestsOf, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Stop an A/B test: all traffic back to the control",
        "ab-tests stop SERVICE",
        Why.ASKED,
    ),
    Verb(
        "ab_tests.promote", AbTestsPromote, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Give the winner of an A/B test all of the traffic",
        "ab-tests promote SERVICE [--to r2]",
        Why.ASKED,
    ),
    Verb(
        "replays.request", ReplaysRequest, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Ask a recorded request again, on a release",
        "requests replay REQUEST --on r2",
    ),
    Verb(
        "replays.sample", ReplaysSample, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Ask a release a sample of recorded requests",
        "releases replay r2 --service NAME [--sample 100] [--since 1h]",
    ),
    Verb(
        "replays.bisect", ReplaysBisect, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Find the release that changed an answer",
        "releases bisect SERVICE REQUEST [--expect TEXT]",
    ),
    Verb(
        "keys.add", KeysAdd, _ADMIN, _REVERSIBLE, _CONTROL,
        "Add a key",
        "keys create --name NAME --role client [--synthetic]",
    ),
    Verb(
        "keys.revoke", NoArguments, _ADMIN, _HARD, _CONTROL,
        "Revoke a key for good",
        "keys revoke NAME",
        Why.ASKED,
    ),
    Verb(
        "keys.reset", NoArguments, _ADMIN, _HARD, _CONTROL,
        "Revoke all keys and replace the secret they are checked with",
        "keys reset",
        Why.ASKED,
    ),
    Verb(
        "knobs.set", KnobsSet, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Set a deployment's knob",
        "knobs set WORKER KNOB=VALUE",
        Why.ASKED,
    ),
    Verb(
        "knobs.undo", KnobsUndo, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Undo the last setting of a knob",
        "knobs undo WORKER KNOB",
        Why.ASKED,
    ),
    Verb(
        "quarantine.lift", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Run a quarantined template again",
        "quarantine lift NAME@VERSION",
        Why.ASKED,
    ),
    Verb(
        "upstreams.add", UpstreamsAdd, _ADMIN, _REVERSIBLE, _CONTROL,
        "Register an upstream",
        "upstreams add NAME URL [--key-file FILE]",
    ),
    Verb(
        "upstreams.rekey", UpstreamsRekey, _ADMIN, _REVERSIBLE, _CONTROL,
        "Replace an upstream's key",
        "upstreams rekey NAME --key-file FILE",
    ),
    Verb(
        "upstreams.remove", NoArguments, _ADMIN, _REVERSIBLE, _CONTROL,
        "Remove an upstream",
        "upstreams remove NAME",
        Why.ASKED,
    ),
    Verb(
        "jobs.cancel", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Cancel a job",
        "jobs cancel JOB",
        Why.ASKED,
    ),
    Verb(
        "jobs.retry", NoArguments, _OPERATOR, _REVERSIBLE, _CONTROL,
        "Queue a failed or cancelled job again",
        "jobs retry JOB",
    ),
    Verb(
        "runbooks.start", RunbooksStart, _OPERATOR, _REVERSIBLE, _RUNNER,
        "Start a runbook",
        "runbooks start NAME [INPUT=VALUE]",
        Why.ASKED,
    ),
    Verb(
        "runbooks.undo", NoArguments, _OPERATOR, _REVERSIBLE, _RUNNER,
        "Undo the steps of a run",
        "runbooks undo RUN",
        Why.ASKED,
    ),
)  # fmt: skip

TABLE: Final[Mapping[str, Verb]] = MappingProxyType({verb.name: verb for verb in _ROWS})


def _check_total(weights: Iterable[int]) -> None:
    total = sum(weights)
    if total != 10_000:  # noqa: PLR2004 basis points
        raise ValueError(f"the weights add up to {total} basis points, not 10000 - at `$.arms`")


def carried_out_by(process: Process) -> frozenset[str]:
    """The names of the verbs that a process claims."""
    return frozenset(verb.name for verb in _ROWS if verb.process is process)


def check(verb: Verb, *, target: str, confirm: str, reason: str) -> None:
    """Prove that an intent was confirmed and explained as its verb demands.

    Raises:
        BadArguments: with what is missing.
    """
    if verb.danger is Danger.HARD and confirm != target:
        raise BadArguments(
            f"{verb.name} is hard to reverse; confirm it with the target's name, {target!r}."
        )
    if verb.why is Why.REQUIRED and not reason.strip():
        raise BadArguments(f"{verb.name} needs a reason; say why.")


def parse(name: str, raw: Mapping[str, Any]) -> Any:
    """The arguments of a verb as its struct.

    Raises:
        BadArguments: there is no such verb, or a field does not fit; the message names it.
    """
    verb = TABLE.get(name)
    if verb is None:
        raise BadArguments(f"There is no verb {name!r}; known: {', '.join(TABLE)}.")
    try:
        return msgspec.convert(dict(raw), verb.arguments)
    except msgspec.ValidationError as error:
        what, at, where = str(error).rpartition(" - at `")
        field = where.removesuffix("`").removeprefix("$").removeprefix(".")
        raise BadArguments(
            f"{name}: {field}: {what}." if at and field else f"{name}: {what or error}."
        ) from error
