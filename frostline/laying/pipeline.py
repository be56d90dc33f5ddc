"""The pipeline of a folder that was laid down: its stages are the installed package's, whose code a file stands for.

There the rooms of the package are no files that dvc could watch. Their SHA-256 are parameters instead, so that an
update of the package makes just those stages stale whose rooms it changed.
"""

import hashlib
import io
from pathlib import Path

from ruamel.yaml.comments import CommentedMap

from frostline.files import hash_file, read_yaml, write_yaml
from frostline.laying.studies import make_yaml

PACKAGE = Path(__file__).parents[1]
ORIGINALS = PACKAGE / "laid"
"""What the wheel has of the project's other files, as they stand there; a checkout has none."""
CODE = "code.yaml"
"""The SHA-256 of each room of the package that its stages depend on."""


def write_pipeline(original: Path) -> str:
    """Return dvc.yaml as it is in a folder that was laid down."""
    yaml, stream = make_yaml(), io.StringIO()
    content = yaml.load(original.read_text(encoding="utf-8"))
    for stage in content["stages"].values():
        stage["cmd"] = stage["cmd"].replace("python -m stages.", "python -m frostline.stages.")
        names = [name_room(dep) for dep in stage["deps"] if _is_code(dep)]
        stage["deps"] = [dep for dep in stage["deps"] if not _is_code(dep)]
        stage["params"] = [*stage.get("params", ()), CommentedMap({CODE: names})]
    yaml.dump(content, stream)
    head, _, stages = stream.getvalue().partition("\nstages:")
    about, _, _ = head.partition("\n")
    own = f"# {CODE} stands for the installed package; `frostline` writes it anew after an update."
    return f"{about}\n{own}\n\nstages:{stages}"


def _is_code(dep: str) -> bool:
    return dep.startswith(("frostline/", "stages/"))


def name_room(dep: str) -> str:
    """Return what a room or file of the package, or a stage, is called in CODE: dvc takes a dot for a level."""
    return dep.removeprefix("frostline/").removesuffix(".py").replace("/", "-")


def hash_rooms() -> dict[str, str]:
    """Return the SHA-256 of each room and stage of the installed package that its dvc.yaml names."""
    stages = make_yaml().load((ORIGINALS / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
    deps = sorted({str(dep) for stage in stages.values() for dep in stage["deps"] if _is_code(dep)})
    return {name_room(dep): hash_room(PACKAGE / dep.removeprefix("frostline/")) for dep in deps}


def hash_room(path: Path) -> str:
    """Return one SHA-256 of the files of a room, or of a file."""
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    kept = sorted(each for each in files if "__pycache__" not in each.parts)
    hashed = hashlib.sha256("".join(f"{each.relative_to(path.parent)} {hash_file(each)}\n" for each in kept).encode())
    return hashed.hexdigest()


def note_code(folder: Path) -> None:
    """Write what the package's rooms are now, in a folder that was laid down: after an update dvc then runs anew."""
    path = folder / CODE
    if path.is_file() and (now := hash_rooms()) != read_yaml(path):
        write_yaml(path, now)
        print(f"{CODE}: the installed package has changed, and what follows from it will run anew", flush=True)
