"""Untrusted templates: what they cannot reach, take or fill."""

from __future__ import annotations

import itertools
import tracemalloc

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from engine.prompting.renderer import faults, sandbox

STRICT = sandbox.Sandbox(strict=True)
CHAT = sandbox.Sandbox(strict=False)
DOUBLING = (
    "{{% set ns = namespace(t='x' * 1000) %}}"
    "{{% for i in range(60) %}}{{% set ns.t = ns.t {} ns.t %}}{{% endfor %}}{{{{ ns.t }}}}"
)


def render(source: str, **values: object) -> str:
    """The text of a strict template."""
    return STRICT.render(STRICT.compile(source), values, cpu_s=0.25)


OUTSIDE = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ x.__globals__ }}",
    "{{ self.__init__.__globals__ }}",
    "{{ cycler.__init__.__globals__.os.system('true') }}",
    "{{ range.__self__ }}",
    "{{ x|attr('__class__') }}",
    "{{ '{0.__class__}'.format(x) }}",
    "{{ raise_exception.__globals__ }}",
)


@pytest.mark.parametrize("source", OUTSIDE)
def test_nothing_outside_is_reached(source: str) -> None:
    """Attributes that lead to the interpreter are refused with an error."""
    with pytest.raises(faults.TemplateFault):
        render(source, x="text")


GREEDY = (
    "{{ 'x' * 10 ** 9 }}",
    "{{ 'x' * 1000000000 }}",
    "{{ [0] * 1000000000 }}",
    "{{ 'x'.ljust(1000000000) }}",
    "{{ 'x'.zfill(1000000000) }}",
    "{{ '%999999999d' % 1 }}",
    "{{ '{:999999999}'.format(1) }}",
    "{{ 'x' | indent(1000000000, true) }}",
    "{{ 'x' | center(1000000000) }}",
    DOUBLING.format("~"),
    DOUBLING.format("+"),
    "{% set a = 'x' * 50000 %}{{ a.replace('x', a).replace('x', a) }}",
    "{% set a = 'x' * 50000 %}{{ a | replace('x', a) }}",
    "{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}",
    "{{ range(1000000) | list }}",
    "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    "{% for i in range(9999) %}{% for j in range(9999) %}{{ i - i }}{% endfor %}{% endfor %}",
)


@pytest.mark.parametrize("source", GREEDY)
def test_neither_time_nor_memory_is_taken(source: str) -> None:
    """What would run or grow without end ends with an error, soon."""
    with pytest.raises(faults.TemplateFault):
        render(source)


VALUES = (
    "s", "t", "''", "'\\u0378' * 50000", "[s] * 100", "[[s] * 9] * 9", "range(1000)",
    "{s: [s] * 9}", "{s: s}.items()", "7", "namespace(a=[s] * 100)",
    "range(1000) | map('replace', 0, s)", "s.maketrans('x', s)", "'%s' * 1000", "'%9999s' * 10000",
    "'{}' * 1000", "'{0:9999}' * 10000", "'{:{}}' * 1000", "'%*d' * 9", "'%(s)s' * 1000",
)  # fmt: skip
ARGUMENTS = (
    "", "s", "t", "'x', s", "'', s", "50000", "99999, true", "'x', 50000", "[s] * 100",
    "[s] * 1000",
    "range(1000) | map('replace', 0, s)", "{120: s}", "1, 50000", "'replace', 'x', s", "start=[]",
    "tabsize=50000", "indent=50000", "width=50000", "s=s", "attribute='s', d=s",
)  # fmt: skip
FILTERS = sorted(STRICT._environment.filters)
METHODS = [name for name in dir(str) if not name.startswith("_")]
NUMBER_METHODS = ["to_bytes", "from_bytes", "as_integer_ratio"]
CALLS = [f"| {name}" for name in FILTERS] + [f".{name}" for name in METHODS + NUMBER_METHODS]
LARGE = {"s": "x" * 50_000, "t": "\t \n" * 20_000}
MEMORY_BYTES = 64 * 1024 * 1024


FILLING = (
    "{{ ''.join([s] * 10000) }}",
    "{{ range(10000) | join(s) }}",
    "{{ ([s] * 10000) | join }}",
    "{{ '%*d' % (100000000, 1) }}",
    "{{ ('%9999d' * 50000) % ((1,) * 50000) }}",
    "{{ ('%(s)s' * 10000) % {'s': s} }}",
    "{{ ('{0}' * 10000).format(s) }}",
    "{{ ('{0:{1}}' * 5000).format(1, 99999) }}",
    "{{ t | indent(50000) }}",
    "{{ t.expandtabs(50000) }}",
    "{{ s.translate({120: s}) }}",
    "{{ [s] * 10000 }}",
    "{{ 'x' ~ [s] * 10000 }}",
    "{{ ([s] * 10000) | string }}",
    "{{ ([s] * 10000) | tojson }}",
    "{{ (range(10000) | list) | tojson(indent=50000) }}",
    "{{ range(10000) | map('replace', 0, s) | map('replace', 'x', 'yy') | list }}",
    "{{ dict(range(10000) | map('replace', 0, s) | map('list')) }}",
    "{{ s.encode() * 100000 }}",
    "{{ (1).to_bytes(99999, 'big') * 100000 }}",
    "{% macro m() %}{% for i in range(99999) %}{{ s }}{% endfor %}{% endmacro %}{{ m() }}",
    "{% set b %}{% for i in range(99999) %}{{ s }}{% endfor %}{% endset %}",
    (
        "{% set n = namespace(l=[]) %}{% for i in range(999) %}{% set n.l = n.l + [s ~ i] %}"
        "{% endfor %}"
    ),
    "{{ ('ab ' * 2000000).split() | length }}",
    "{{ ('x' * 8000000) | list | length }}",
    "{{ s | groupby('x', s) }}",
    "{{ ([s] * 1000) | sort }}",
    "{{ ([{'x': s}] * 1000) | groupby('x') }}",
    "{{ s | groupby([s] * 1000) }}",
    "{{ s | groupby([s] * 100) }}",
    "{{ s[[s] * 1000] }}",
    "{{ s | map(attribute=[s] * 1000) | list }}",
)


@pytest.mark.parametrize("source", FILLING)
def test_memory_is_not_filled(source: str) -> None:
    """What is joined, repeated, padded or printed is measured before it is made."""
    _, fault = peak(source)
    assert fault is not None


def peak(source: str) -> tuple[int, faults.TemplateFault | None]:
    """The most memory that was taken by a rendering, and how it failed, if it did."""
    fault = None
    tracemalloc.start()
    try:
        render(source, **LARGE)
    except faults.TemplateFault as error:
        fault = error
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert most < MEMORY_BYTES, source
    return most, fault


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(VALUES), st.sampled_from(CALLS), st.sampled_from(ARGUMENTS))
@example("s", "| groupby", "[s] * 1000")
def test_no_filter_and_no_method_fills_the_memory(value: str, call: str, arguments: str) -> None:
    """A few of the combinations: some take a second under tracemalloc."""
    peak(f"{{{{ ({value}) {call}({arguments}) }}}}")


@pytest.mark.soak
@pytest.mark.parametrize("call", CALLS)
def test_no_combination_of_value_call_and_argument_fills_the_memory(call: str) -> None:
    """All of them; most are nonsense, and end with an error."""
    for value, arguments in itertools.product(VALUES, ARGUMENTS):
        peak(f"{{{{ ({value}) {call}({arguments}) }}}}")


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(VALUES), st.sampled_from("+*%~"), st.sampled_from(VALUES))
def test_no_operator_fills_the_memory(left: str, operator: str, right: str) -> None:
    """Of whatever is on its sides."""
    peak(f"{{{{ ({left}) {operator} ({right}) }}}}")


def test_the_line_of_a_fault_is_named() -> None:
    """Both where it cannot be read and where it goes wrong."""
    with pytest.raises(faults.TemplateFault) as unreadable:
        STRICT.compile("one\ntwo {% if %}")
    assert unreadable.value.line == 2
    with pytest.raises(faults.TemplateFault) as missing:
        render("one\ntwo\n{{ nobody }}")
    assert (missing.value.line, str(missing.value)) == (3, "'nobody' is undefined")


def test_a_template_may_refuse_by_itself() -> None:
    """`raise_exception` is how chat templates say that roles must alternate."""
    with pytest.raises(faults.Raised, match="roles must alternate"):
        CHAT.render(CHAT.compile("{{ raise_exception('roles must alternate') }}"), {}, 0.25)


def test_what_chat_templates_use_works() -> None:
    """Loop controls, namespaces, string methods, tojson without escapes, unknown names."""
    source = (
        "{% set ns = namespace(n=0) %}\n"
        "{% for m in messages %}\n"
        "  {% if m.role == 'skip' %}{% continue %}{% endif %}\n"
        "{% set ns.n = ns.n + 1 %}\n"
        "{{ m.role.upper() + ': ' + m.content | trim }}{{ '\\n' }}\n"
        "{% endfor %}\n"
        "{{ ns.n }} {{ {'ä': 1} | tojson }} {{ 'a-b'.split('-')[-1] }}{% if tools %}no{% endif %}"
    )
    turns = [{"role": "user", "content": " hi "}, {"role": "skip", "content": ""}]
    rendered = CHAT.render(CHAT.compile(source), {"messages": turns}, 0.25)
    assert rendered == 'USER: hi\n\n1 {"ä": 1} b'


@given(st.text(), st.text())
def test_values_are_put_in_as_they_are(before: str, value: str) -> None:
    """No escaping, and a value is never read as a template."""
    assert render("{{ a }}|{{ b }}", a=before, b=value) == f"{before}|{value}"


LIST = "{% set l = range(99999) | list %}"
ENDLESS = (
    "{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}",
    "{% for i in range(9999) %}{% for j in range(9999) %}{% continue %}{% endfor %}{% endfor %}",
    LIST + "{% for i in l if -1 in l %}{% endfor %}",
    LIST
    + "{{ l | select('in', l[:0]) | list }}{{ l | select('eq', 'x') | select('in', l) | list }}"
    + "{{ l | map('string') | select('in', l) | list }}",
    LIST + "{% set x = -1 in l %}" * 2000,
    LIST + "{% for i in l %}{{ l | sum }}{% endfor %}",
    "{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}",
    "{% for i in [1] recursive %}{{ loop([1]) }}{{ loop([1]) }}{% endfor %}",
)


@pytest.mark.parametrize("source", ENDLESS)
@pytest.mark.timeout(60)
def test_the_time_is_bounded(source: str) -> None:
    """The template checks the time itself, so that the line is named."""
    with pytest.raises(faults.TemplateFault, match=r"ran longer than|without end"):
        render(source)


def test_the_format_of_a_date_is_bounded() -> None:
    """Padding of thousands of fields costs seconds and gigabytes."""
    with pytest.raises(faults.Exceeded):
        render("{{ strftime_now('%9999d' * 1000) | length }}")
    assert len(render("{{ strftime_now('%d %b %Y') }}")) == 11


def test_a_sandbox_renders_again_after_a_fault() -> None:
    """The limit of one rendering does not reach into the next."""
    with pytest.raises(faults.TemplateFault):
        render("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}")
    assert render("{{ x }}", x=1) == "1"


def test_what_cannot_be_compiled_says_why() -> None:
    """Whatever Python's own compiler makes of it: its limits are not ours to explain away."""
    said = {}
    for name, source in {
        "loops": "{% for a in b %}" * 120 + "{% endfor %}" * 120,
        "digits": "{{ " + "1" * 5000 + " }}",
        "brackets": "{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}",
        "long": "x" * 1_000_001,
    }.items():
        with pytest.raises(faults.TemplateFault) as caught:
            STRICT.compile(source)
        said[name] = str(caught.value)
    assert said == {
        "loops": "it is nested too deeply or too large to compile",
        "digits": "a number in it has too many digits",
        "brackets": "it is nested too deeply or too large to compile",
        "long": "it has 1000001 characters; a template may have 1000000",
    }


def test_the_variables_of_a_template_are_named() -> None:
    """Without what every template is given, and without what it sets itself."""
    source = "{% set a = b %}{{ a }}{% for i in range(c) %}{{ i }}{% endfor %}{{ namespace() }}"
    assert STRICT.names(source) == {"b", "c"}
