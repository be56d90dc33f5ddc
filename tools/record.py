"""Keep what a study found, beside its params, in a folder that dvc does not write."""

import argparse
import shutil
from pathlib import Path

from frostline.laying.studies import write_study

FOUND = ("plans", "runs", "costs", "pairs", "history", "shifted")
TOLD = ("advice", "study")
DRAWN = ("difference", "accuracy", "losses", "shifts", "sizes")
"""Pictures, of which a study has the first at least."""


def main(study: str, into: Path, root: Path = Path()) -> None:
    """Write the study's params, its tables, its pictures and what is known of its images into the folder."""
    into.mkdir(parents=True, exist_ok=True)
    (into / "params.yaml").write_text(write_study(study, root), encoding="utf-8")
    for path in list_kept(root):
        shutil.copy(path, into)
    print(f"Recorded in {into}.")


def list_kept(root: Path) -> list[Path]:
    """Return the files below `root` that are kept of the study that ran last."""
    tables = [root / "reports" / f"{name}.csv" for name in FOUND]
    facts = [root / "reports" / f"{name}.json" for name in TOLD]
    drawn = [root / "reports" / "figures" / f"{name}.{kind}" for name in DRAWN for kind in ("png", "svg")]
    return [*tables, *facts, *(path for path in drawn if path.exists()), root / "data" / "raw" / "source.json"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("study")
    parser.add_argument("into", type=Path)
    main(**vars(parser.parse_args()))
