"""The rules of structure that no linter has."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.domain.reason import Reason
from tests.tidy import source

FUNCTION_LINES_MAX = 60
FILE_LINES_MAX = 499
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|HACK)\b")
CODE = re.compile(r"\b[A-Z]+(?:_[A-Z]+)*\b")
SKIPS = {"skip", "skipif", "skipIf", "skipUnless", "SkipTest", "skipTest", "xfail", "expectedFailure", "importorskip"}
Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
ALL = source.python_files("services", "deploy", "tests", "schemas")
PURE = source.python_files("services/domain", *(f"services/{name}" for name in source.SERVICES))


def test_functions_can_be_read_at_once() -> None:
    """A function that does not fit on a screen hides a branch."""
    too_long = []
    for path in ALL:
        for function in source.functions(path):
            lines = (function.end_lineno or function.lineno) - function.lineno + 1  # decorators are tables, not logic
            if lines > FUNCTION_LINES_MAX:
                too_long.append(f"{source.place(path, function.lineno)} {function.name}: {lines} lines")
    assert too_long == []


def test_files_have_one_subject() -> None:
    """A file of 500 lines has two subjects."""
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in ALL}
    assert [f"{source.place(path, 1)}: {count}" for path, count in lines.items() if count > FILE_LINES_MAX] == []


def test_money_is_never_a_float() -> None:
    """0.1 + 0.2 is not 0.3; no float may even come near a rule."""
    found = []
    for path in PURE:
        for node in ast.walk(source.tree(path)):
            match node:
                case ast.Constant(value=float() | complex()) | ast.Name(id="float" | "complex"):
                    found.append(source.place(path, node.lineno))
    assert found == []


def test_nothing_is_left_for_later() -> None:
    """Work that is not done is an issue, not a comment."""
    found = [
        source.place(path, line) for path in ALL for line, text in source.comments(path) if UNFINISHED.search(text)
    ]
    assert found == []


def test_no_test_is_left_out() -> None:
    """A test that does not run proves nothing and looks as if it did."""
    found = []
    for path in source.python_files("tests"):
        for node in ast.walk(source.tree(path)):
            match node:
                case ast.Attribute(attr=name) | ast.Name(id=name) if name in SKIPS:
                    found.append(source.place(path, node.lineno))
    assert found == []


def _public(path: Path) -> Iterator[tuple[Documented, str]]:
    """Public functions and classes of a module, and the public methods of its public classes, with their names."""

    def within(body: list[ast.stmt], prefix: str) -> Iterator[tuple[Documented, str]]:
        for node in body:
            if isinstance(node, source.Function | ast.ClassDef) and not node.name.startswith("_"):
                yield node, f"{prefix}{node.name}"
                if isinstance(node, ast.ClassDef):
                    yield from within(node.body, f"{node.name}.")

    yield from within(source.tree(path).body, "")


def test_what_is_public_is_explained() -> None:
    """The docstring is the contract; without one there is none."""
    missing = [
        f"{source.place(path, node.lineno)} {name}"
        for path in source.python_files("services")
        for node, name in _public(path)
        if not ast.get_docstring(node)
    ]
    files = source.python_files("services")
    modules = [source.place(path, 1) for path in files if not ast.get_docstring(source.tree(path))]
    assert missing + modules == []


def test_every_reason_is_raised() -> None:
    """A refusal that nobody raises is a promise to the desk that is not kept."""
    raised = set()
    for path in PURE:
        for node in ast.walk(source.tree(path)):
            if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason":
                raised.add(node.attr)
    assert sorted(reason.name for reason in Reason if reason.name not in raised) == []


def test_every_reason_is_tested() -> None:
    """Each refusal is shown by a test or a scenario of its service: as Reason.X, or as a word of a table."""
    folders = [source.ROOT / "tests" / "unit" / name for name in source.SERVICES] + [
        source.ROOT / "tests" / "scenarios"
    ]
    files = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".txt", ".toml")]
    named = {word for path in files for word in CODE.findall(path.read_text(encoding="utf-8"))}
    assert sorted(reason.name for reason in Reason if reason.name not in named) == []


@pytest.mark.parametrize("package", ["services", "deploy", "tests"])
def test_every_folder_with_code_is_a_package(package: str) -> None:
    """A folder without __init__.py is left out of the wheel, and its tests are imported under another name."""
    folders = {path.parent for path in source.python_files(package)}
    assert [source.place(folder, 1) for folder in sorted(folders) if not (folder / "__init__.py").exists()] == []
