"""Print the comparison that the study wrote, and where its report lies."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tools.tables import COLUMNS, comparison, sentences


def main(reports: Path) -> None:
    """Print the plans of the folder `reports`, the advised one first to the eye."""
    rows, advised = comparison(reports)
    table = Table(title="How deep to unfreeze", box=None, padding=(0, 1), pad_edge=False)
    for column in COLUMNS:
        table.add_column(column, justify="left" if column == "plan" else "right", overflow="fold")
    for index, row in enumerate(rows):
        table.add_row(*row, style="bold" if index == advised else None)
    console = Console(width=None if sys.stdout.isatty() else 120)  # what is not a terminal has no width of its own
    console.print(table)
    for sentence in sentences(reports):
        console.print(sentence, markup=False, highlight=False)
    console.print(f"Report: {(reports / 'report.html').resolve()}", soft_wrap=True, highlight=False)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reports", type=Path)
    main(**vars(parser.parse_args()))
