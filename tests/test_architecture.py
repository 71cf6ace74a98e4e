"""What no tool checks: where things live, what they are called, what a process loads.

The import contracts are in `pyproject.toml`; some are proved again here at run time, because a
contract reads source and a process loads what it loads.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[1]
FLOORS: Final = ("app", "engine", "runbooks", "storage")
PURE: Final = (
    "engine.serving.scheduler",
    "engine.serving.sequences",
    "engine.traffic.routing",
)
LONG_LINES: Final = 400

# A module is split for what it holds, not for its length; one this long has to say why.
LONG: Final[dict[str, str]] = {}

MAP: Final = re.compile(r"`ls (\S+(?: \S+)*)` is the map")

TOP_LEVEL: Final = {
    "app",
    "engine",
    "runbooks",
    "storage",
    "tests",
    "tools",
    "docs",
    ".ci",
    ".github",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE",
    "Makefile",
    "README.md",
    "SECURITY.md",
    "constraints.txt",
    "pyproject.toml",
}

# Modules of libraries that are not documented for use from outside.
INNER: Final = ("jinja2.compiler", "uvicorn.protocols")

# A name that could hold anything ends up holding everything.
SHAPELESS: Final = {
    "utils", "util", "common", "helpers", "helper", "manager", "managers", "base", "misc", "lib",
}  # fmt: skip

# Addresses that a document may hold; all others are addresses that must be kept working.
ADDRESSES: Final = re.compile(r"https?://(127\.0\.0\.1|localhost|\[::1\]|box01|example\.\w+)\b")


def tracked() -> list[Path]:
    """The files of the repository, as git knows them; all files where there is no git."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode == 0 and listed.stdout:
        return [path for name in listed.stdout.split("\0") if (path := ROOT / name).is_file()]
    return [
        path
        for top in TOP_LEVEL
        for path in ([ROOT / top] if (ROOT / top).is_file() else (ROOT / top).rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    ]


def modules(*tops: str) -> list[Path]:
    """The Python files under some of the top-level folders."""
    return [
        path
        for path in tracked()
        if path.suffix == ".py" and path.relative_to(ROOT).parts[0] in tops
    ]


def named(path: Path) -> str:
    """A path as a message shows it."""
    return path.relative_to(ROOT).as_posix()


def test_the_top_level_is_the_five_floors_and_what_a_project_needs() -> None:
    """A folder at the top is a promise that its name says what is inside."""
    found = {path.relative_to(ROOT).parts[0] for path in tracked()}
    assert found - TOP_LEVEL == set()
    assert found >= {*FLOORS, "tests"}


def test_no_module_has_a_shapeless_name() -> None:
    """No utils, common, helpers, manager, base: on any floor, as a file or a folder."""
    found = [
        named(path)
        for path in modules(*FLOORS, "tests")
        if SHAPELESS & {path.stem, *path.relative_to(ROOT).parts[:-1]}
    ]
    assert found == []


def test_every_module_says_what_it_is() -> None:
    """A docstring opens each module; packages that only hold others may do with one line."""
    silent = [
        named(path)
        for path in modules(*FLOORS, "tests")
        if not ast.get_docstring(ast.parse(path.read_bytes()))
    ]
    assert silent == []


def test_modules_are_short_or_say_why_not() -> None:
    """A long one needs a reason in the table above; a reason that is not needed goes."""
    found = {
        named(path) for path in modules(*FLOORS) if len(path.read_text().splitlines()) > LONG_LINES
    }
    assert found == set(LONG)


def test_no_process_of_ours_but_the_renderer_can_compile_a_template() -> None:
    """Templates are strangers' code: Jinja is in none of the processes that must not die of it."""
    program = (
        "import engine.gateway.server, engine.control.__main__, engine.jobs.__main__, sys\n"
        "import engine.control.handlers\n"
        "engine.control.handlers.load()\n"
        "import engine.jobs.add_model, engine.node.node\n"
        "sys.exit('jinja2' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False)
    assert done.returncode == 0


def test_what_is_sqlites_own_is_in_one_folder() -> None:
    """The nouns work on any database; migrations and the folder alone know which one it is."""
    own = {"sqlite3", "aiosqlite", "sqlalchemy.dialects"}
    found = [
        f"{named(path)} imports {module}"
        for path in modules("storage")
        if not named(path).startswith(("storage/sqlite/", "storage/migrations/"))
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for module in (
            [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else [each.name for each in node.names]
        )
        if any(f"{module}.".startswith(f"{each}.") for each in own)
    ]
    assert found == []


def test_no_source_compiles_with_a_warning() -> None:
    """Warnings as errors begin where Python reads the source."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in modules(*FLOORS, "tests"):
            compile(path.read_bytes(), named(path), "exec", dont_inherit=True)


def test_nothing_is_left_for_later() -> None:
    """What is not done is an issue, not a comment."""
    marks = re.compile("|".join(rf"\b{mark[::-1]}\b" for mark in ("ODOT", "EMXIF", "KCAH")))
    found = [
        f"{named(path)}:{number}"
        for path in modules(*FLOORS, "tests")
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if marks.search(line)
    ]
    assert found == []


def test_tests_wait_for_signals_and_never_sleep() -> None:
    """A sleep in a test is a guess about another machine. The bench and loads keep a pace."""
    found = [
        f"{named(path)}:{node.lineno}"
        for path in modules("tests")
        if "bench" not in path.parts
        and ("acceptance" not in path.parts or path.name.startswith("test_"))
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"sleep", "time.sleep", "asyncio.sleep", "anyio.sleep"}
        and not (len(node.args) == 1 and ast.unparse(node.args[0]) == "0")
    ]
    assert found == []


def test_libraries_whose_inner_parts_are_used_are_pinned_exactly() -> None:
    """What a library does not promise may change with any of its releases."""
    requirements = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pinned = {each.partition("==")[0].replace("-", "_") for each in requirements if "==" in each}
    used = {
        node.module.split(".")[0]
        for path in modules(*FLOORS)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.ImportFrom) and node.module is not None
        if node.module.startswith(INNER) or "._" in node.module
    }
    assert {"jinja2", "textual"} <= used
    assert used - pinned == set()


def test_every_test_is_a_sentence_with_a_docstring() -> None:
    """What a test promises is in its name and its docstring."""
    found = [
        f"{named(path)}:{node.lineno} {node.name}"
        for path in modules("tests")
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.name.startswith("test_")
        and not ast.get_docstring(node)
    ]
    assert found == []


def test_the_lock_names_versions_and_hashes_and_no_place() -> None:
    """Where packages come from is the user's setting, not ours."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    strange = [
        line
        for line in lines
        if not re.fullmatch(r"[a-z0-9._-]+==[^\s;]+( ; [^\\]+)? \\", line)
        and not re.fullmatch(r"    --hash=sha256:[0-9a-f]{64}( \\)?", line)
    ]
    assert strange == []


def test_documents_name_no_addresses_but_the_box_itself() -> None:
    """An address in a document is one more thing that breaks without us."""
    readable = {".md", ".toml", ".yml", ".yaml", ".cmake", ""}
    found = [
        f"{named(path)}: {match}"
        for path in tracked()
        if path.suffix in readable
        and path.name != "LICENSE"
        and path.relative_to(ROOT).parts[0] != "tests"
        for match in re.findall(r"https?://[^\s)\"'`>]+", path.read_text(errors="replace"))
        if not ADDRESSES.match(match)
    ]
    assert found == []


def imported(path: Path) -> set[str]:
    """The modules that a source imports, by their dotted names."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            inner = {f"{origin}.{alias.name}" for alias in node.names}
            found |= {name if source_of(name).exists() else origin for name in inner}
    return found


def source_of(module: str) -> Path:
    """The file of a module of ours."""
    return ROOT / f"{module.replace('.', '/')}.py"


@pytest.mark.parametrize("start", PURE)
def test_what_decides_imports_only_the_standard_library_and_the_frames(start: str) -> None:
    """Scheduler, sequences and routing run by the thousand a second in tests, without a model.

    What they import of ours is followed, and has to hold to the same.
    """
    allowed = sys.stdlib_module_names | {"engine.serving.wire"}
    to_read, seen, found = [start], set(), set()
    while to_read:
        module = to_read.pop()
        seen.add(module)
        for name in imported(source_of(module)) - allowed - seen:
            if name.startswith("engine."):
                to_read.append(name)
            elif name.split(".")[0] not in allowed:
                found.add(f"{module} imports {name}")
    assert found == set()


def test_what_judges_imports_only_the_standard_library_and_numerics() -> None:
    """A verdict follows from its numbers: nothing here can read a store, a clock or a socket."""
    outside = {"asyncio", "socket", "subprocess", "sqlite3", "time", "random", "secrets"}
    allowed = (sys.stdlib_module_names - outside) | {"numpy", "scipy", "engine"}
    found = {
        f"{named(path)} imports {name}"
        for path in modules("engine")
        if named(path).startswith("engine/judging/")
        for name in imported(path)
        if name.split(".")[0] not in allowed
        or (name.startswith("engine.") and not name.startswith("engine.judging"))
    }
    assert found == set()


def loaded_by(statement: str) -> set[str]:
    """The modules in memory after a statement in a fresh process."""
    program = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_what_judges_a_rollout_does_not_load_scipy() -> None:
    """It costs 79 MB and two seconds; the bootstrap of an evaluation loads it when it is called."""
    names = sorted(path.stem for path in modules("engine") if path.parent.name == "judging")
    program = "\n".join(f"import engine.judging.{name}" for name in names if name != "__init__")
    assert not {name for name in loaded_by(program) if name.split(".")[0] == "scipy"}


def under(loaded: set[str], *packages: str) -> set[str]:
    """Those of some packages that are loaded."""
    return {name for name in packages if name in loaded}


@pytest.mark.parametrize("statement", ["import app.cli", "import app.tui", "import runbooks"])
def test_a_terminal_never_loads_the_engine(statement: str) -> None:
    """A failed assertion in libllama ends its process; no operator's terminal is at that risk."""
    assert under(loaded_by(statement), "engine", "llama_cpp", "numpy", "starlette") == set()


def test_the_first_frame_waits_for_no_library_of_the_store() -> None:
    """A person woken by an alert sees a screen at once; what it shows is read after that."""
    loaded = loaded_by("import app.cli, app.commands.attach")
    assert under(loaded, "sqlmodel", "sqlalchemy", "pydantic_settings", "app.session") == set()


def test_a_worker_loads_neither_the_store_nor_the_web() -> None:
    """A worker is put back after a crash; what it imports is time without answers."""
    loaded = loaded_by("import engine.serving.worker")
    heavy = ("sqlmodel", "sqlalchemy", "starlette", "uvicorn", "pydantic", "textual")
    assert under(loaded, *heavy) == set()


def test_the_node_and_the_gateway_never_load_the_model_library() -> None:
    """Only workers hold libllama, so that its abort takes along one worker and nothing else."""
    for part in ("engine.__main__", "engine.gateway.__main__", "engine.control.__main__"):
        assert under(loaded_by(f"import {part}"), "llama_cpp", "textual") == set()


def test_a_process_that_asks_the_gateway_for_tokens_loads_no_http() -> None:
    """Jobs, control and the runner reach it by its internal socket."""
    loaded = loaded_by("import engine.execution.client")
    assert under(loaded, "httpx", "starlette", "uvicorn", "llama_cpp", "engine.gateway") == set()


def test_a_gateway_without_upstreams_loads_no_http_client() -> None:
    """It is imported with the first upstream: a box that is put back answers that much earlier."""
    assert under(loaded_by("import engine.gateway.server"), "httpx") == set()


def test_the_map_in_the_readme_leads_to_every_package_that_knows_the_noun() -> None:
    """A noun that outgrew its module is a folder, which those patterns would not find."""
    said = " ".join((ROOT / "README.md").read_text("utf-8").split())
    (patterns,) = MAP.findall(said)
    found = {
        path.relative_to(ROOT).parts[0] for each in patterns.split() for path in ROOT.glob(each)
    }
    assert {"app", "engine", "storage"} <= found
