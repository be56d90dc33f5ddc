"""The house as it is written: what each stage names, what imports what, and how large a room may be."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

import pytest

from tests.project import ROOT, copy_project, load_yaml, read_params, run

STAGES = ("fetch", "prepare", "race", "train", "evaluate", "compare", "look", "finish", "plot")


def pipeline() -> dict[str, Any]:
    return load_yaml((ROOT / "dvc.yaml").read_text())["stages"]


UNUSED = {
    "fetch": set(),
    "prepare": set(),
    "race": {"frostline/answer/after_choice.py"},
    "train": set(),
    "evaluate": set(),
    "compare": set(),
    "look": {
        "frostline/backbones/folding.py",
        "frostline/backbones/inference.py",
        "frostline/data/augmentation.py",
    },
    "finish": set(),
    "plot": set(),
}
"""What lies in the rooms of a stage and is not imported by it: an edit of it makes the stage stale for nothing."""
MOST_FILES, MOST_LINES = 9, 300


def module_path(name: str) -> Path | None:
    """Return the file of one of our modules by its dotted name, relative to the project."""
    path = Path(*name.split(".")).with_suffix(".py")
    return path if name.partition(".")[0] in ("frostline", "stages") and (ROOT / path).is_file() else None


def imports_of(path: Path) -> set[Path]:
    """Return our modules that a module of ours names in its import statements, wherever in it they stand."""
    names = []
    for node in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
    return {found for name in names if (found := module_path(name))}


def imported_modules(stage: str) -> set[Path]:
    """Return the stage's module and all of ours that it imports, directly or by way of others."""
    found: set[Path] = set()
    waiting = [Path("stages", f"{stage}.py")]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += imports_of(path)
    return found


def house() -> list[Path]:
    """Return all files of the package, relative to the project, without what only describes a folder."""
    return [path.relative_to(ROOT) for path in sorted((ROOT / "frostline").rglob("*.py")) if path.stem != "__init__"]


def code_deps(stage: str) -> list[Path]:
    """Return what of our code a stage names, files and rooms."""
    return [Path(dep) for dep in pipeline()[stage]["deps"] if dep.startswith(("frostline", "stages"))]


@pytest.mark.parametrize("stage", STAGES)
def test_what_a_stage_imports_lies_in_what_it_names_and_little_else_does(stage: str) -> None:
    named: set[Path] = set()
    for dep in code_deps(stage):
        inside = {path for path in house() if dep in path.parents} if (ROOT / dep).is_dir() else {dep}
        assert inside & imported_modules(stage), f"{stage} imports nothing of {dep}"
        named |= inside
    assert imported_modules(stage) <= named
    assert {str(path) for path in named - imported_modules(stage)} == UNUSED[stage]


def test_no_module_imports_a_stage() -> None:
    verbs = {Path("stages", f"{stage}.py") for stage in STAGES}
    for path in (*house(), *verbs):
        assert not imports_of(path) & verbs, path


def test_modules_and_rooms_import_each_other_in_no_circle() -> None:
    of_files = {path: imports_of(path) for path in house()}
    of_rooms: dict[Path, set[Path]] = {}
    for path, imported in of_files.items():
        room, others = room_of(path), {room_of(each) for each in imported}
        of_rooms[room] = of_rooms.get(room, set()) | others - {room}
    for graph in (of_files, of_rooms):
        assert list(TopologicalSorter(graph).static_order())  # raises CycleError


def room_of(path: Path) -> Path:
    """Return the room in which a module lies; one beside the rooms is a room of its own."""
    return path if path.parent == Path("frostline") else path.parent


@pytest.mark.parametrize("room", sorted({path.parent for path in house()}), ids=str)
def test_a_room_is_small_and_says_what_it_is_for_with_a_line_for_each_file(room: Path) -> None:
    files = [path for path in house() if path.parent == room]
    assert len(files) <= MOST_FILES
    for path in files:
        assert len((ROOT / path).read_text().splitlines()) <= MOST_LINES, path
    tree = ast.parse((ROOT / room / "__init__.py").read_text())
    assert len(tree.body) == 1
    told = ast.get_docstring(tree) or ""
    about, _, listed = told.rpartition("\n\n")
    assert len(about.splitlines()) <= 7
    beside = {path.name for path in (ROOT / room).iterdir() if path.is_file() and path.suffix not in (".py", ".typed")}
    assert {line.partition(": ")[0] for line in listed.splitlines()} == {path.stem for path in files} | beside
    assert all(len(line.partition(": ")[2]) > 10 for line in listed.splitlines())


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_declares_the_params_that_it_reads(stage: str) -> None:
    """Whatever `settings.` or `data.` a stage's own module names must be covered by its declared params."""
    declared = pipeline()[stage].get("params", [])
    source = (ROOT / "stages" / f"{stage}.py").read_text() + (
        (ROOT / "frostline" / "sources" / "local.py").read_text() if stage == "fetch" else ""
    )
    reads = set(re.findall(r"\bsettings\.(study\.\w+|plans|training|backbones)", source))
    reads |= {f"data.{name}" for name in data_params() if re.search(rf"\bdata\.{name}\b", source)}
    for name in reads:
        covered = any(name == each or name.startswith(f"{each}.") or each.startswith(f"{name}.") for each in declared)
        assert covered, f"{stage} reads {name} but declares only {declared}"


def data_params() -> list[str]:
    return list(read_params(ROOT)["data"])


def test_every_stage_says_what_it_is_for() -> None:
    assert list(pipeline()) == list(STAGES)
    assert all(stage["desc"] for stage in pipeline().values())


def keys_of(content: Any) -> set[str]:
    if isinstance(content, dict):
        return set(content) | set().union(*map(keys_of, content.values()), set())
    return set().union(*map(keys_of, content), set()) if isinstance(content, list) else set()


@pytest.mark.parametrize(
    "path", ["params.yaml", "dvc.yaml", *(f"studies/{p.name}" for p in (ROOT / "studies").glob("*"))]
)
def test_no_key_makes_dvc_restore_stale_outputs(path: str) -> None:
    """dvc's run cache ignores the keys size and nfiles (treeverse/dvc#10296); persist loads the old model."""
    assert not keys_of(load_yaml((ROOT / path).read_text())) & {"size", "nfiles", "persist"}


def test_the_committed_lock_is_true_without_any_data(tmp_path: Path) -> None:
    clone = copy_project(tmp_path)
    assert "up to date" in run(clone, "dvc", "repro", "--allow-missing", "--dry").stdout
