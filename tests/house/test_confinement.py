"""Whoever answers a request looks things up in the archive as it is to who makes the request."""

import ast
from collections.abc import Iterator
from pathlib import Path

type Function = ast.FunctionDef | ast.AsyncFunctionDef

ROOT = Path(__file__).resolve().parents[2]
# Who may see all of the archive: what hands over what is permitted of it, and what measures how busy it is.
WHOLE = {("service/web/request.py", "archive_of"), ("service/web/sampling.py", "sample")}


def test_no_answer_is_made_of_the_whole_archive():
    breaches = [
        f"{place}:{node.lineno} reads the archive of the house: use archive_of(request)"
        for place, function in _functions()
        if (place, function.name) not in WHOLE
        for node in _reads(function)
    ]
    assert breaches == []


def test_the_look_out_sees_who_would_read_the_whole_archive():
    sources = (
        "def f(request):\n return house(request).archive",
        "def f(request):\n here = house(request)\n return here.archive.find",
        "def f(here: House, asked):\n return here.archive",
        "def f(request):\n here = request.app.state.house\n def g():\n  return here.archive",
        "class C:\n def f(self):\n  return self._house.archive",
        "def f(request):\n return getattr(house(request), 'archive')",
        "async def f(request):\n return (here := house(request)).archive",
    )
    for source in sources:
        tree = ast.parse(source)
        assert list(_reads(tree)), source
    plain = ast.parse("def f(asked, request):\n return asked.archive, archive_of(request), self.archive")
    assert list(_reads(plain)) == []


def _functions() -> Iterator[tuple[str, Function]]:
    for path in sorted((ROOT / "service" / "web").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield path.relative_to(ROOT).as_posix(), node


def _reads(function: ast.AST) -> Iterator[ast.Attribute | ast.Call]:
    """Where a function reads `archive` of a house, by whatever name it has the house."""
    houses = _houses(function)
    for node in ast.walk(function):
        if isinstance(node, ast.Attribute) and node.attr == "archive" and _is_house(node.value, houses):
            yield node
        if isinstance(node, ast.Call) and _called(node) in ("getattr", "attrgetter") and _names_it(node):
            yield node


def _names_it(call: ast.Call) -> bool:
    return any(isinstance(one, ast.Constant) and one.value == "archive" for one in call.args)


def _houses(function: ast.AST) -> set[str]:
    """The names that hold a house: parameters that say so, and what one is assigned to."""
    found: set[str] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.arg) and node.annotation is not None:
            if ast.unparse(node.annotation).strip("'\"") == "House":
                found.add(node.arg)
        elif isinstance(node, ast.Assign) and _is_house(node.value, found):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.NamedExpr) and _is_house(node.value, found):
            found.add(node.target.id)
    return found


def _is_house(node: ast.expr, houses: set[str]) -> bool:
    if isinstance(node, ast.NamedExpr):
        return _is_house(node.value, houses)
    if isinstance(node, ast.Name):
        return node.id in houses or node.id == "house"
    if isinstance(node, ast.Attribute):
        return node.attr.strip("_") == "house"
    return isinstance(node, ast.Call) and _called(node) == "house"


def _called(node: ast.Call) -> str:
    return node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
