"""The walls between the modules, and the size of the rooms."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SQL = ("apsw", "sqlite3", "psycopg", "asyncpg", "sqlalchemy")
S3 = ("boto3", "botocore", "obstore")
CODECS = ("imagecodecs", "pylibjpeg", "openjpeg", "libjpeg")
WEB = ("starlette", "uvicorn")

# Where (a path prefix) → what it never imports (module prefixes).
WALLS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("service/dicom", ("service.archive", "service.store", "service.index", "service.pixels", "service.web")),
    ("service/dicom", ("service.app", "service.settings", "bridge", "asyncio", "threading", "pynetdicom")),
    ("service/dicom", (*WEB, *SQL, *S3)),
    ("service/store", ("service.index", "service.pixels", "service.web", "service.archive", "starlette")),
    ("service/index", ("service.store", "service.pixels", "service.web", "service.archive", "starlette")),
    ("service/pixels", ("service.store", "service.index", "service.web", "service.archive", "starlette")),
    ("service/access", ("service.archive", "service.store", "service.index", "service.pixels", *WEB)),
    ("service/access", ("service.web", "service.app", "service.settings", "service.audit")),
    ("service/web", ("service.store", "service.index", *S3, *SQL, *CODECS, "pynetdicom")),
    ("service/audit", ("service.store", "service.index", "service.pixels", "service.web", "service.archive")),
    ("service/audit", ("service.app", "service.settings", "asyncio", *WEB, *SQL, *S3)),
    ("service", ("bridge", "pynetdicom")),
    ("bridge", ("service.store", "service.index", *S3)),
)
# One folder or file names each dependency.
OWNERS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (S3, ("service/store",)),
    (SQL, ("service/index", "bridge/worklist/views.py")),
    (CODECS, ("service/pixels/codecs",)),
    (("starlette",), ("service/web", "service/app.py", "bridge/control")),
    (("jwt", "bcrypt"), ("service/access",)),
)


def modules(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, prefixes: tuple[str, ...], joint: str) -> bool:
    return any(name == prefix or name.startswith(prefix + joint) for prefix in prefixes)


def test_no_module_imports_across_a_wall():
    breaches = [
        f"{place(path)} imports {name}"
        for path in modules("service", "bridge")
        for where, never in WALLS
        if within(place(path), (where,), "/")
        for name in imports(path)
        if within(name, never, ".")
    ]
    assert breaches == []


def test_one_folder_names_each_dependency():
    breaches = [
        f"{place(path)} imports {name}"
        for path in modules("service", "bridge")
        for dependency, owners in OWNERS
        if not within(place(path), owners, "/")
        for name in imports(path)
        if within(name, dependency, ".")
    ]
    assert breaches == []


def test_the_core_is_synchronous():
    breaches = [
        f"{place(path)}:{node.lineno}"
        for path in modules("service")
        if not within(place(path), ("service/web", "service/app.py"), "/")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.AsyncFunctionDef, ast.Await))
    ]
    assert breaches == []


@pytest.mark.parametrize("program", ["service", "bridge"])
def test_the_environment_is_read_where_a_program_starts_only(program):
    readers = {
        place(path)
        for path in modules(program)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in ("environ", "getenv")
    }
    assert readers <= {f"{program}/__main__.py"}


def test_rooms_are_small():
    large = {
        place(path): len(path.read_text().splitlines()) for path in modules("service", "bridge", "tests")
    }
    assert {path: lines for path, lines in large.items() if lines > 500} == {}


def test_functions_are_short():
    long = [
        f"{place(path)}:{node.name} {node.end_lineno - node.lineno + 1}"
        for path in modules("service", "bridge")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
        and node.end_lineno is not None
        and node.end_lineno - node.lineno + 1 > 80
    ]
    assert long == []


def test_folders_are_at_most_three_deep():
    deep = [place(path) for path in modules("service", "bridge") if len(path.relative_to(ROOT).parts) > 4]
    assert deep == []


def test_ports_have_at_most_six_methods():
    large = [
        f"{place(path)}:{node.name} {len(methods)}"
        for path in modules("service", "bridge")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and base.id == "Protocol" for base in node.bases)
        and len(methods := [one for one in node.body if isinstance(one, ast.FunctionDef)]) > 6
    ]
    assert large == []


def test_everything_public_has_a_docstring():
    bare = [
        f"{place(path)}:{getattr(node, 'name', 'module')}"
        for path in modules("service", "bridge")
        for node in _public(ast.parse(path.read_text()))
        if ast.get_docstring(node) is None and path.read_text().strip()
    ]
    assert bare == []


def _public(tree: ast.Module) -> Iterator[ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef]:
    yield tree
    for node in tree.body:
        if isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and node.name[0] != "_":
            yield node
