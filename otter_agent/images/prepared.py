"""Which files of a module folder its prepare.py sees.

All but those that only the running module has a use for: a change of them shall not fetch and
convert gigabytes of weights anew. Must not know: stores.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

NEVER = frozenset({"module.py", "Dockerfile", "README.md", "requirements.txt"})


def unseen(folder: Path) -> frozenset[str]:
    """Names of files at the top of `folder` that prepare.py doesn't see.

    Of Python files those that module.py imports, by others or by itself, and prepare.py doesn't.
    """
    only = _reached(folder, "module.py") - _reached(folder, "prepare.py")
    return NEVER | only


def _reached(folder: Path, start: str) -> frozenset[str]:
    """A file and what it imports of its folder."""
    found: set[str] = set()
    waiting = [start]
    while waiting:
        name = waiting.pop()
        if name not in found and (folder / name).is_file():
            found.add(name)
            waiting += _imports(folder / name)
    return frozenset(found)


def _imports(file: Path) -> Iterator[str]:
    """Files beside it that it may import: of one that isn't understood all are."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        yield from (path.name for path in file.parent.glob("*.py"))
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"{alias.name.partition('.')[0]}.py" for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            named = [node.module] if node.module else [alias.name for alias in node.names]
            yield from (f"{name.partition('.')[0]}.py" for name in named)
