"""Check params.yaml, and that the images it names are there, before dvc clears anything for a stage to write anew."""

import argparse
from pathlib import Path

from stages.command import one_line
from stages.params import load_params


def main(params: Path) -> None:
    """Check the params; return if they are in order, else end the process with one line."""
    with one_line():
        data = load_params(params).data
        if data.source == "folder":
            from stages.sources import folder

            folder(Path(data.folder))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("params", type=Path)
    main(**vars(parser.parse_args()))
