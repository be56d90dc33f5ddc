"""Fill README's tables in from what the studies wrote, so that no figure in it is typed by hand.

What stands between `<!-- name -->` and `<!-- /name -->` is made here; all else is left alone.
"""

import re
from pathlib import Path

from docs.architectures.page import readme_block
from frostline.backbones.freezing import count_by_part
from frostline.backbones.registry import build_backbone
from frostline.constants import BACKBONES, PARTS
from frostline.files import open_whole_file, read_csv, read_json
from frostline.units import typeset_points
from tools.tables import COLUMNS, comparison, markdown, sentences

KEYS = ["backbone", "plan"]


def blocks(root: Path) -> dict[str, str]:
    """Return the Markdown of each block, made from the reports below `root`."""
    return {
        "study": study_block(root / "reports"),
        "beans": beans_block(root / "docs" / "beans"),
        "backbones": backbones_block(),
        "architectures": readme_block(root / "docs" / "architectures"),
        "splits": splits_block(root),
        "speed": speed_block(root / "benchmarks" / "results.json"),
        "racing": racing_block(root / "benchmarks"),
    }


def study_block(reports: Path) -> str:
    """Return a study's advice, and its comparison with the advised plan in bold."""
    rows, advised = comparison(reports)
    table = markdown(COLUMNS, [tuple(map(bold, row)) if index == advised else row for index, row in enumerate(rows)])
    advice = "\n".join(f"> {sentence}" for sentence in sentences(reports))
    return f"{advice}\n\n{table}"


def beans_block(kept: Path) -> str:
    """Return the recorded study of the bean leaves, and how each plan stands to full fine-tuning."""
    pairs = read_csv(kept / "pairs.csv")
    costs = read_csv(kept / "costs.csv").set_index("plan").train_flops
    told = []
    for pair in pairs[(pairs.plan == "all") | (pairs.other_plan == "all")].to_dict("records"):
        other, sign = (pair["other_plan"], -1) if pair["plan"] == "all" else (pair["plan"], 1)
        bounds = sorted(sign * pair[name] for name in ("low", "high"))
        low, high = (typeset_points(bound) for bound in bounds)
        difference, share = typeset_points(sign * pair["difference"]), costs[other] / costs["all"]
        told.append(f"{other} {difference} points ({low} to {high}) at {share:.2g} of the computation")
    return f"{study_block(kept)}\n\nAgainst full fine-tuning: {'; '.join(told)}."


def splits_block(root: Path) -> str:
    """Return each plan's accuracy under the default study's split beside what the random split would have claimed."""
    columns = [*KEYS, "accuracy", "accuracy_sd"]
    honest = read_csv(root / "reports" / "plans.csv")[columns]
    random = read_csv(root / "docs" / "elpv_random" / "plans.csv")[columns]
    both = honest.merge(random, on=KEYS, suffixes=("", "_random"), validate="1:1")
    rows = [
        (
            row["plan"],
            f"{row['accuracy']:.3f} ± {row['accuracy_sd']:.3f}",
            f"{row['accuracy_random']:.3f} ± {row['accuracy_sd_random']:.3f}",
            f"{100 * (row['accuracy_random'] - row['accuracy']):+.1f} points",
        )
        for row in both.to_dict("records")
    ]
    return markdown(("plan", "blocks kept together", "random cells", "flattered by"), rows)


def backbones_block() -> str:
    """Return every backbone, the images that it takes, and the parameters of its parts, counted with two classes."""
    rows = []
    for name, sides in BACKBONES.items():
        counts = [each.parameters for each in count_by_part(build_backbone(name, "none", classes=2))]
        px = f"{sides[0]}" if len(sides) == 1 else f"{sides[0]} to {sides[-1]}"
        rows.append((f"`{name}`", px, *(f"{count:,}" for count in counts)))
    return markdown(("backbone", "image px", *PARTS), rows)


def speed_block(results: Path) -> str:
    """Return what the benchmark measured: seconds of 30 epochs by plan, and how they compare."""
    measured = read_json(results)
    rows = []
    for row in (*measured["plans"], measured["total"]):
        scripts = [f"{row[f'{script}_30_epochs_seconds']:,.0f}" for script in ("lightning", "plain", "project")]
        compared = [f"{row[f'{script}_to_project']:.1f}" for script in ("lightning", "plain")]
        peak = f"{row['project_peak_memory_bytes'] / 1e6:,.0f}" if "project_peak_memory_bytes" in row else ""
        rows.append((row["plan"], *scripts, *compared, f"{row['project_to_limit']:.2f}", peak))
    columns = ("learns from", "Lightning s", "PyTorch s", "this project s", "Lightning / this", "PyTorch / this")
    return markdown((*columns, "this / the machine's limit", "peak MB of this"), rows)


def racing_block(benchmarks: Path) -> str:
    """Return what racing saved of each study that was raced, and on how many splits the advice stayed as it was."""
    rows = []
    for file in sorted(benchmarks.glob("racing_*.json")):
        measured = read_json(file)
        shares = [split["race_seconds"] / split["grid_seconds"] for split in measured["of_splits"]]
        same = [f"{measured[each]} of {measured['splits']}" for each in ("same_status", "same_plan")]
        told = f"{file.stem.removeprefix('racing_')}, {measured['image_px']} px"
        rows.append((told, *same, f"{measured['ratio']:.2f}", f"{min(shares):.2f} to {max(shares):.2f}"))
    return markdown(("study", "same verdict", "same plan named", "share of the seconds", "split by split"), rows)


def bold(text: str) -> str:
    """Return the text in bold."""
    return f"**{text}**"


def fill(readme: str, contents: dict[str, str], where: str = "README.md") -> str:
    """Return the text with each block's content in its place.

    Raises `ValueError` when a block has no place in it, naming the file `where` the text is from.
    """
    for name, content in contents.items():
        place = re.search(rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)", readme, re.DOTALL)
        if not place:
            raise ValueError(f"{where} must hold <!-- {name} --> and <!-- /{name} -->. Got neither instead.")
        readme = readme[: place.start()] + content + "\n" + readme[place.end() :]
    return readme


def main(root: Path) -> None:
    """Fill in README.md below `root`."""
    path = root / "README.md"
    filled = fill(path.read_text(encoding="utf-8"), blocks(root))
    with open_whole_file(path) as unfinished:
        unfinished.write_text(filled, encoding="utf-8")


if __name__ == "__main__":
    main(Path(__file__).parent.parent)
