"""The structure, read from the code: no file outside kinds/ names a kind, and no kind knows another."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

import reconciler
from reconciler.host.port import Type
from reconciler.kinds import kinds

PACKAGE = Path(reconciler.__file__).parent
ALLOWED = {Path("cli/mapping.py"): "its commands are about the files of one kind, as the contract says"}
HELPERS = {"base", "__init__"}


def sources() -> Iterator[tuple[Path, ast.Module]]:
    """Every file of the product."""
    for file in sorted(PACKAGE.rglob("*.py")):
        yield file.relative_to(PACKAGE), ast.parse(file.read_text())


def names_in(node: ast.AST) -> set[str]:
    """The names of kinds that are written as words anywhere in an expression."""
    words = {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}
    return words & set(kinds())


def asks_kind(node: ast.AST) -> bool:
    """Whether an expression looks at what kind something is."""
    return any(
        (isinstance(n, ast.Attribute) and n.attr == "kind") or (isinstance(n, ast.Name) and n.id == "kind")
        for n in ast.walk(node)
    )


def named_kinds(  # noqa: C901, PLR0912 - one branch for each way in which code can name a kind
    tree: ast.Module,
) -> Iterator[tuple[int, str]]:
    """Where a file names a kind: line, and what it does with the name."""
    tables = {
        target.id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None
        if isinstance(node.value, ast.Set | ast.Dict | ast.Tuple | ast.List | ast.Call) and names_in(node.value)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name)
    }

    def words(node: ast.AST) -> set[str]:
        from_tables = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id in tables}
        return names_in(node) | from_tables

    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and any(map(asks_kind, [node.left, *node.comparators])) and words(node):
            yield node.lineno, f"compares a kind with {sorted(words(node))}"
        elif isinstance(node, ast.Match) and asks_kind(node.subject):
            for case in node.cases:
                if names_in(case.pattern):
                    yield case.pattern.lineno, f"matches {sorted(names_in(case.pattern))}"
        elif isinstance(node, ast.Subscript) and asks_kind(node.slice) and words(node.value):
            yield node.lineno, "looks a kind up in a table of names"
        elif isinstance(node, ast.Subscript) and calls(node.value, "kinds") and names_in(node.slice):
            yield node.lineno, f"takes the kind {sorted(names_in(node.slice))}"
        elif isinstance(node, ast.Call) and calls(node, "Address") and node.args and names_in(node.args[0]):
            yield node.lineno, f"makes an address of {sorted(names_in(node.args[0]))}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "get":
            if (calls(node.func.value, "kinds") and any(map(names_in, node.args))) or (
                any(map(asks_kind, node.args)) and words(node.func.value)
            ):
                yield node.lineno, "looks a kind up by name"
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            parts = node.module.split(".")
            if "kinds" in parts and set(parts[parts.index("kinds") + 1 :]) & set(kinds()):
                yield node.lineno, f"imports the kind {parts[-1]}"
            elif parts[-1] == "kinds" and {alias.name for alias in node.names} & set(kinds()):
                yield node.lineno, f"imports the kinds {sorted({a.name for a in node.names} & set(kinds()))}"


def calls(node: ast.AST, name: str) -> bool:
    """Whether an expression is a call of a function of this name."""
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def test_no_file_outside_kinds_names_a_kind() -> None:
    found = [
        f"{path}:{line}: {what}"
        for path, tree in sources()
        if path.parts[0] != "kinds" and path not in ALLOWED
        for line, what in named_kinds(tree)
    ]
    assert found == []


@pytest.mark.parametrize(
    "text",
    [
        "if a.kind == 'tree': pass",
        "if a.kind in ('file', 'ini'): pass",
        "FILES = {'file', 'ini'}\nif address.kind not in FILES: pass",
        "match w.kind:\n    case 'daemon': pass",
        "x = Address('account', name)",
        "x = kinds()['ini']",
        "x = kinds().get('ini')",
        "ORDER = {'group': 1}\nx = ORDER[a.kind]",
        "ORDER = {'group': 1}\nx = ORDER.get(a.kind, 2)",
        "from ..kinds.tree import Tree",
        "from ..kinds import mapping",
    ],
)
def test_the_count_counts(text: str) -> None:
    assert list(named_kinds(ast.parse(text))), text


def test_no_kind_knows_another() -> None:
    modules = {file.stem for file in (PACKAGE / "kinds").iterdir() if file.suffix == ".py"} | {
        file.name for file in (PACKAGE / "kinds").iterdir() if file.is_dir()
    }
    kind_modules = {name for name in modules if not name.startswith("_") and name not in HELPERS}
    found = [
        f"{path}:{node.lineno}"
        for path, tree in sources()
        if path.parts[0] == "kinds"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.level == len(path.parts) - 1 and node.module in kind_modules
    ]
    assert set(kinds()) <= kind_modules
    assert found == []


def words_for_types(tree: ast.Module) -> Iterator[int]:
    """The lines that compare the type of a directory entry with a word in place of `Type`."""
    types = {str(each) for each in Type}
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.left, ast.Attribute) and node.left.attr == "type":
            words = {n.value for part in node.comparators for n in ast.walk(part) if isinstance(n, ast.Constant)}
            if words & types:
                yield node.lineno


def test_what_stands_in_a_directory_has_one_list_of_names() -> None:
    assert list(words_for_types(ast.parse("if there.type == 'link': pass\nx = a.type in ('fifo', 'block')"))) == [1, 2]
    assert [f"{path}:{line}" for path, tree in sources() for line in words_for_types(tree)] == []


MUTATING = {"replace", "remove", "mkdir", "rmdir", "symlink", "rename", "erase", "amend", "discard", "run"}
HOSTS = {"host", "_host"}


def test_only_the_host_kinds_and_trees_touch_a_host() -> None:
    found = [
        f"{path}:{node.lineno}: {node.func.attr}"
        for path, tree in sources()
        if path.parts[0] not in ("host", "kinds", "trees") and path != Path("core/kind.py")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in MUTATING
        if (isinstance(node.func.value, ast.Name) and node.func.value.id in HOSTS)
        or (isinstance(node.func.value, ast.Attribute) and node.func.value.attr in HOSTS)
    ]
    assert found == []


def test_the_list_of_rooms_is_the_contract() -> None:
    page = (PACKAGE.parent / "ARCHITECTURE.md").read_text()
    listed = re.findall(r"^(\w+)(?:/|\.py) {2,}", page, re.MULTILINE)
    contracts = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(each["layers"] for each in contracts if each["type"] == "layers")
    assert [f"reconciler.{name}" for name in listed] == layers[1:], "ARCHITECTURE and pyproject tell one list"
    there = {p.stem for p in PACKAGE.iterdir() if (p.is_dir() or p.suffix == ".py") and not p.name.startswith("_")}
    assert set(listed) == there


def test_nothing_below_the_command_line_imports_click() -> None:
    found = [
        f"{path}:{node.lineno}"
        for path, tree in sources()
        if path.parts[0] != "cli"
        for node in ast.walk(tree)
        if (isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "click" for alias in node.names))
        or (isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "click")
    ]
    assert found == []
