"""Print the rooms of the source tree and which room may import which; fail where a file breaks a rule.

A room is a folder of `lamp_hf/` or `training/`, or a module that stands there by itself. Rooms lie on floors, and a
file imports its own room and the floors below it. Only the standard library is needed:

    python tests/architecture.py                  # rooms, arrows and, if there are any, violations (exit code 1)
    python tests/architecture.py motion data      # may motion import data?
"""

import ast
import sys
from dataclasses import dataclass
from pathlib import Path


ROOT = Path(__file__).parents[1]
FLOORS = (  # from the ground up
    {"models", "_aliases"},
    {"motion", "claims", "distributed", "fingerprint"},
    {"data"},
    {"retrieval", "evaluators"},
    {"metrics"},
    {"batch_generation", "benchmark", "hub", "import_checkpoint", "serve"},
    {"training.objective"},
    {"training.sharding"},
    {"training.schedule", "training.batches", "training.averaging", "training.motions"},
    {"training.pretrained", "training.progress", "training.recipe", "training.gradient_cache"},
    {"training.augmentation", "training.loop", "training.text_encoder"},
    {"training.command_line", "training.data"},
    {"training.video", "training.texts"},
    {"training.train_*"},
    {"training.evaluation"},
    {"training.*"},  # what puts the stages together: evaluate, ablations, bundle
    {"cli"},
)
MOST_LINES = 400  # of a file in lamp_hf/
RIDDLES = ("Of ", "What ", "That ", "Whether ", "How ")  # a docstring says what the thing is or does
FRONT_DOOR = ""  # lamp_hf/__init__.py: anyone but models/ may import it; its names count as the room they come from


@dataclass(frozen=True)
class Arrow:
    """An import of another room of the tree."""

    file: str
    line: int
    start: str
    end: str


def floor_of(room: str) -> int:
    """Return the number of a room's floor, counted from the ground; a room without one lies above all."""
    return next((number for number, rooms in enumerate(FLOORS, 1) if room in rooms), len(FLOORS) + 1)


def may_import(start: str, end: str) -> bool:
    """Tell if files of the room `start` may import files of the room `end`."""
    return start == end or end == FRONT_DOOR or floor_of(start) > floor_of(end)


def room_of(module: str, exports: dict[str, str] | None = None) -> str | None:
    """Return the room of a dotted name, or `None` if it is not of this tree.

    Args:
        module (`str`): name such as `lamp_hf.motion.clip.Motion`, `lamp_hf.Motion` or `training.train_lamp`.
        exports (`dict[str, str]`, *optional*): names of the front door and the modules that define them.
    """
    package, *names = module.split(".")
    if [package, *names[:1]] == ["lamp_hf", "training"]:  # its name once it is installed
        package, *names = names
    if package == "training":
        own = f"training.{names[0]}" if names else "training.*"
        if own.startswith("training.train_"):
            return "training.train_*"
        return own if any(own in rooms for rooms in FLOORS) else "training.*"
    if package != "lamp_hf":
        return None
    if names == ["__main__"]:
        return "cli"
    name = (exports or {}).get(names[0], names[0]).split(".")[0] if names else ""
    return name if is_module(name) else FRONT_DOOR


def is_module(name: str) -> bool:
    return any((ROOT / "lamp_hf" / file).is_file() for file in (f"{name}.py", f"{name}/__init__.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def source_files(*folders: str) -> dict[Path, ast.Module]:
    paths = sorted(
        path for folder in folders for path in (ROOT / folder).rglob("*.py") if "node_modules" not in path.parts
    )
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}


def read_exports(front_door: ast.Module) -> dict[str, str]:
    """Read `_EXPORTS` of `lamp_hf/__init__.py`, the names that it takes from rooms."""
    for node in front_door.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_EXPORTS":
            return ast.literal_eval(node.value)
    raise ValueError("lamp_hf/__init__.py has no _EXPORTS")


def imported_modules(path: Path, tree: ast.Module) -> list[tuple[int, str, int]]:
    """List all that a file imports, inside functions and by importlib too.

    Returns:
        `list[tuple[int, str, int]]`: line, absolute dotted name, number of dots in front of a relative one.
    """
    package = module_name(path).split(".") + ["__init__"] * (path.name == "__init__.py")
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: -node.level], *filter(None, [node.module])] if node.level else [node.module]
            found += [(node.lineno, ".".join([*base, alias.name]), node.level) for alias in node.names]
        elif isinstance(node, ast.Attribute) and getattr(node.value, "id", "") == "lamp_hf":
            found.append((node.lineno, f"lamp_hf.{node.attr}", 0))
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            found += [(node.lineno, name.value, 0) for name in node.args[:1] if isinstance(name, ast.Constant)]
    return found


def read_arrows(files: dict[Path, ast.Module]) -> list[Arrow]:
    """List every import of one room by another; the front door itself, which only hands names out, has none."""
    exports = read_exports(files[ROOT / "lamp_hf" / "__init__.py"])
    arrows = []
    for path, tree in files.items():
        start = room_of(module_name(path))
        for line, name, _ in imported_modules(path, tree):
            end = room_of(name, exports)
            if end not in (None, FRONT_DOOR, start) and start != FRONT_DOOR:
                arrows.append(Arrow(str(path.relative_to(ROOT)), line, start, end))
    return arrows


def rooms_without_floor(files: dict[Path, ast.Module]) -> list[str]:
    known = {FRONT_DOOR}.union(*FLOORS)
    return sorted(
        f"{path.relative_to(ROOT)}: room {room} has no floor; give it one in tests/architecture.py"
        for path in files
        if (room := room_of(module_name(path))) not in known
    )


def arrows_upward(arrows: list[Arrow]) -> list[str]:
    return [
        f"{arrow.file}:{arrow.line}: {arrow.start} imports {arrow.end}, which is not below it"
        for arrow in arrows
        if not may_import(arrow.start, arrow.end)
    ]


def circles(arrows: list[Arrow]) -> list[str]:
    """Find rooms that import each other, directly or by way of other rooms."""
    below = {arrow.start: {other.end for other in arrows if other.start == arrow.start} for arrow in arrows}

    def search(path: tuple[str, ...]) -> list[tuple[str, ...]]:
        found = []
        for room in sorted(below.get(path[-1], ())):
            if room == path[0]:
                found.append((*path, room))
            elif room > path[0] and room not in path:  # a circle is reported from its first room alone
                found += search((*path, room))
        return found

    return [" -> ".join(circle) for room in sorted(below) for circle in search((room,))]


def imports_out_of_models(files: dict[Path, ast.Module]) -> list[str]:
    """Find imports in `lamp_hf/models/` of this tree that are not of a sibling by a single dot."""
    return [
        f"{path.relative_to(ROOT)}:{line}: imports {name}; models/ imports siblings by one dot"
        for path, tree in files.items()
        if path.is_relative_to(ROOT / "lamp_hf" / "models")
        for line, name, dots in imported_modules(path, tree)
        if dots > 1 or (dots == 0 and room_of(name) is not None)
    ]


def long_files(files: dict[Path, ast.Module]) -> list[str]:
    counts = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    return [
        f"{path.relative_to(ROOT)}: {count} lines; at most {MOST_LINES}"
        for path, count in counts.items()
        if count > MOST_LINES and path.is_relative_to(ROOT / "lamp_hf")
    ]


def riddles(files: dict[Path, ast.Module]) -> list[str]:
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}: docstring begins with {text.split()[0]!r}"
        for path, tree in files.items()
        for node in ast.walk(tree)
        if isinstance(node, documented) and (text := ast.get_docstring(node) or "").startswith(RIDDLES)
    ]


def violations() -> dict[str, list[str]]:
    """Check the tree as it is; the answer has an entry for each rule, empty where the rule is kept."""
    files = source_files("lamp_hf", "training")
    arrows = read_arrows(files)
    return {
        "every room has a floor": rooms_without_floor(files),
        "imports run downward": arrows_upward(arrows),
        "no circle between rooms": circles(arrows),
        "models/ imports its own files alone": imports_out_of_models(files),
        f"no file of lamp_hf/ has more than {MOST_LINES} lines": long_files(files),
        "docstrings say what": riddles(source_files("lamp_hf", "training", "tests")),
    }


def describe() -> str:
    """Draw the floors, top floor first, with the size of each room and the rooms that it imports now."""
    files = source_files("lamp_hf", "training")
    arrows = read_arrows(files)
    lines = ["A room may import every room on a lower floor, and lamp_hf itself for names of the front door.", ""]
    lines.append(f"{'floor':<7}{'room':<24}{'files':>5}{'lines':>7}  imports")
    for number, rooms in reversed(list(enumerate(FLOORS, 1))):
        for room in sorted(rooms):
            own = [path for path in files if room_of(module_name(path)) == room]
            count = sum(len(path.read_text(encoding="utf-8").splitlines()) for path in own)
            imports = sorted(
                {arrow.end for arrow in arrows if arrow.start == room}, key=lambda end: (floor_of(end), end)
            )
            lines.append(f"{number:<7}{room:<24}{len(own):>5}{count:>7}  {', '.join(imports) or '-'}")
    return "\n".join(lines)


def answer(start: str, end: str) -> str:
    """Answer in a sentence if one room may import another."""
    known = set().union(*FLOORS)
    for room in (start, end):
        if room not in known:
            raise SystemExit(f"no room {room!r}; there are: {', '.join(sorted(known))}")
    if may_import(start, end):
        return f"yes: {start} is on floor {floor_of(start)}, {end} on floor {floor_of(end)}"
    reason = "the same floor as" if floor_of(start) == floor_of(end) else "a lower floor than"
    return f"no: {start} is on {reason} {end}"


def main(arguments: list[str]) -> int:
    if len(arguments) == 2:
        print(answer(*arguments))
        return 0
    print(describe())
    print()
    broken = violations()
    for rule, found in broken.items():
        print(f"{rule}: {'yes' if not found else f'{len(found)} violations'}")
        print("".join(f"  {line}\n" for line in found), end="")
    return 1 if any(broken.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
