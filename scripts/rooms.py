"""Measures the source, and fails where a room has outgrown its budget in docs/architecture.md.

Usage: python scripts/rooms.py [FOLDER OF ANOTHER CHECKOUT]
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

_RUN = 6  # lines that make a duplicate
_DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True, slots=True)
class Module:
    """One file: its dotted name, lines, lines of code (no docstrings, comments, blanks), and syntax tree."""

    name: str
    lines: int
    code: tuple[str, ...]
    tree: ast.Module

    @property
    def room(self) -> str:
        """The folder below solfa, or ``api`` for its own files."""
        if self.name == "solfa.__main__":
            return "apps"
        parts = self.name.split(".")
        return parts[1] if len(parts) > 2 or (Path("src/solfa") / parts[-1]).is_dir() else "api"


def read(path: Path, source: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    tree, skipped = ast.parse(text), set[int]()
    for node in ast.walk(tree):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node):
            skipped |= set(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = text.splitlines()
    kept = (line.strip() for number, line in enumerate(lines, 1) if number not in skipped)
    name = ".".join(path.relative_to(source).with_suffix("").parts).removesuffix(".__init__")
    return Module(name, len(lines), tuple(line for line in kept if line and not line.startswith("#")), tree)


def imports_of(module: Module, names: set[str]) -> set[str]:
    """The modules that one imports, also inside functions."""
    found = set[str]()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {full if (full := f"{node.module}.{a.name}") in names else node.module for a in node.names}
    return (found & names) - {module.name}


def duplicates(modules: list[Module]) -> int:
    """Places where six lines of code stand again, imports and punctuation aside; overlapping ones count once."""
    seen, count = set[tuple[str, ...]](), 0
    for module in modules:
        code = [line for line in module.code if re.search(r"\w", line) and not re.match(r"(from|import) ", line)]
        free_from = 0
        for i in range(len(code) - _RUN + 1):
            run = tuple(code[i : i + _RUN])
            if run in seen and i >= free_from:
                count, free_from = count + 1, i + _RUN
            seen.add(run)
    return count


def budgets(page: Path) -> dict[str, int]:
    """Lines that each room may have: the rows ``| `room` | sentence | lines |``."""
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([\d,]+) \|$", page.read_text(encoding="utf-8"), re.M)
    return {room: int(lines.replace(",", "")) for room, lines in rows}


def nodes(modules: list[Module], *kinds: type[ast.AST]) -> list[ast.AST]:
    return [node for module in modules for node in ast.walk(module.tree) if isinstance(node, kinds)]


def measures(modules: list[Module]) -> dict[str, object]:
    """What the issue of the house counts, by name."""
    sizes, names = [m.lines for m in modules], {m.name for m in modules}
    functions = [
        (node.end_lineno or 0) - node.lineno + 1 for node in nodes(modules, ast.FunctionDef, ast.AsyncFunctionDef)
    ]
    arrows = {(m.name, target) for m in modules for target in imports_of(m, names)}
    rooms = {m.name: m.room for m in modules}
    between = {(rooms[a], rooms[b]) for a, b in arrows if rooms[a] != rooms[b]}
    classes = Counter(n.name for m in modules for n in m.tree.body if isinstance(n, ast.ClassDef) and n.name[0] != "_")
    handlers = nodes(modules, ast.ExceptHandler)
    broad = [h for h in handlers if h.type is None or ast.unparse(h.type) in ("Exception", "BaseException")]
    lists = [n for n in nodes(modules, ast.Assign) if ast.unparse(n.targets[0]) == "__all__"]
    return {
        "lines": f"{sum(sizes):,}",
        "lines of code": f"{sum(len(m.code) for m in modules):,}",
        "files": len(modules),
        "median file": round(statistics.median(sizes)),
        "largest file": max(sizes),
        "p95 function": round(statistics.quantiles(functions, n=20)[-1]),
        "mutual imports of modules": sum((b, a) in arrows for a, b in arrows) // 2,
        "mutual imports of rooms": sum((b, a) in between for a, b in between) // 2,
        "broad excepts": len(broad),
        f"duplicates of {_RUN} lines": duplicates(modules),
        "class names used twice": ", ".join(sorted(name for name, n in classes.items() if n > 1)) or 0,
        "names exported": sum(len(ast.literal_eval(n.value)) for n in lists),
    }


def main() -> int:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1])
    modules = [read(path, root / "src") for path in sorted((root / "src").rglob("*.py"))]
    by_room = defaultdict[str, list[Module]](list)
    for module in modules:
        by_room[module.room].append(module)
    budget, over = budgets(root / "docs" / "architecture.md"), []
    print(f"{'room':12} {'files':>5} {'lines':>7} {'code':>7} {'budget':>7}")
    for room, own in sorted(by_room.items()):
        lines, most = sum(m.lines for m in own), budget.get(room, 0)
        print(f"{room:12} {len(own):5} {lines:7,} {sum(len(m.code) for m in own):7,} {most:7,}")
        if lines > most:
            over.append(f"{room} has {lines:,} lines, its budget in docs/architecture.md is {most:,}.")
    for name, value in measures(modules).items():
        print(f"{name:26} {value}")
    print(*over, sep="\n")
    return len(over) > 0


if __name__ == "__main__":
    sys.exit(main())
