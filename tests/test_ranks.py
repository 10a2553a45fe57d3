"""The house stands as it is drawn: no module imports upwards, sideways, or a library that its row does not name."""

import ast
import re
import sys

import pytest

from .conftest import ROOT

SOURCE = ROOT / "src" / "charloom"
PAGE = ROOT / "docs" / "explanation" / "architecture.md"
FREE = {"charloom", "charloom.__main__"}  # the door: names of the package, resolved when they are used
TYPING_ONLY = {"jaxtyping", "numpy", "torch", "matplotlib"}  # under TYPE_CHECKING, anywhere
FURTHER = {
    "torch": {"distributed", "engines/torch", "tensorboard_log"},
    "matplotlib": {"plots"},
    "safetensors": {"modelfile"},
    "charset_normalizer": {"text"},
    "pyarrow": {"text"},
    "pandas": {"text"},
    "rich": {"cli", "progress"},
    "IPython": {"progress"},
    "starlette": {"serve"},
    "uvicorn": {"serve"},
    "optuna": {"tuning"},
    "psycopg": {"tuning"},
}


def documented_rooms():
    """{room: (rank, libraries)} from the table of the architecture page; a room is a path without the suffix."""
    table = PAGE.read_text("utf-8").split("## Ranks")[1].split("\n## ")[0]
    rooms = {}
    for row in re.findall(r"^\|\s*(\d+)\s*\|([^|]*)\|([^|]*)\|", table, flags=re.MULTILINE):
        rank, modules, libraries = int(row[0]), row[1], row[2]
        libraries = {name.strip() for name in libraries.split(",") if name.strip()}
        for room in re.findall(r"`([^`]+)`", re.sub(r"\([^)]*\)", "", modules)):
            rooms[room.strip("/")] = (rank, libraries)
    return rooms


ROOMS = documented_rooms()
MODULES = sorted(SOURCE.rglob("*.py"))


def name_of(path):
    parts = path.relative_to(SOURCE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module):
    """The documented room that a dotted module stands in: the longest that names it."""
    place = module.removeprefix("charloom").strip(".").replace(".", "/")
    rooms = [room for room in ROOMS if place == room or place.startswith(f"{room}/")]
    return max(rooms, key=len) if rooms else None


def is_typing_block(node):
    test = node.test if isinstance(node, ast.If) else None
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def imports_of(path):
    """(imported dotted name, whether under TYPE_CHECKING), inside functions too."""
    found = []

    def visit(node, typing_only):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Import):
                found.extend((alias.name, typing_only) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                assert child.level == 0, f"{path} imports relatively"
                found.extend((resolved(child.module, alias.name), typing_only) for alias in child.names)
            elif is_typing_block(child):
                for inner in child.body:
                    visit(ast.Module([inner], []), True)
                for inner in child.orelse:
                    visit(ast.Module([inner], []), typing_only)
            else:
                visit(child, typing_only)

    visit(ast.parse(path.read_text("utf-8")), False)
    return found


def resolved(module, name):
    """`from charloom.engines import kernels` imports a module, `… import State` a name of the package."""
    if module.partition(".")[0] != "charloom":
        return module
    place = SOURCE.parent / (module.replace(".", "/")) / name
    return (
        f"{module}.{name}"
        if place.with_suffix(".py").is_file() or (place / "__init__.py").is_file()
        else module
    )


def test_the_table_is_read():
    assert ROOMS["errors"] == (0, set())
    assert ROOMS["engines/torch"] == (5, {"torch"})
    assert ROOMS["cli"][0] == max(rank for rank, _ in ROOMS.values())
    assert len(ROOMS) >= 17


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path))
def test_every_module_stands_in_a_documented_room(path):
    assert name_of(path) in FREE or room_of(name_of(path)) is not None


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path))
def test_a_module_imports_lower_ranks_or_its_own_room_only(path):
    module = name_of(path)
    if module in FREE:
        return
    room = room_of(module)
    for imported, _ in imports_of(path):
        if imported.partition(".")[0] != "charloom" or imported == "charloom":
            continue  # the package itself holds the version and nothing else that is imported at once
        other = room_of(imported)
        assert other is not None, f"{module} imports {imported}, which stands nowhere"
        lower = ROOMS[other][0] < ROOMS[room][0]
        assert lower or other == room, (
            f"{module} (rank {ROOMS[room][0]}) imports {imported} (rank {ROOMS[other][0]})"
        )


def allowed_libraries(room):
    """The row's libraries; NumPy from rank 1 on; of a row with several modules, each library belongs to one."""
    rank, libraries = ROOMS[room]
    allowed = {library for library in libraries if library not in FURTHER or room in FURTHER[library]}
    return allowed | ({"numpy"} if rank >= 1 else set())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: name_of(path))
def test_a_module_imports_only_the_libraries_of_its_row(path):
    module = name_of(path)
    allowed = set() if module in FREE else allowed_libraries(room_of(module))
    for imported, typing_only in imports_of(path):
        library = imported.partition(".")[0]
        if library == "charloom" or library in sys.stdlib_module_names:
            continue
        if typing_only and library in TYPING_ONLY:
            continue
        assert library in allowed, f"{module} imports {library}; its row names {sorted(allowed)}"


def test_the_rank_of_a_made_up_module_is_found():
    assert room_of("charloom.engines") == "engines"
    assert room_of("charloom.kernels.masks") == "kernels"
    assert room_of("charloom.engines.torch.lstm") == "engines/torch"
    assert room_of("charloom.text.batching") == "text"
    assert room_of("charloom.nowhere") is None
