"""Write how a study grows with its images and its nodes: `python -m docs.cluster.growth`, in a minute.

What a fit takes and hands over is as the default study measured it for its advised plan (`reports/costs.csv`); all else
is multiplication, and the scheduler's part is simulated.
"""

from dataclasses import asdict
from pathlib import Path

import pandas as pd

from docs.cluster.simulation import Setting, simulate
from frostline.files import read_csv, read_json, write_csv

IMAGES = (10_000, 1_000_000, 100_000_000)
NODES = (1, 10, 100, 1_000)
CORES = 16
EPOCHS = 12
FITS_PER_CORE = 2
"""Of the study that is simulated: as many as keep all cores at work."""
STUDY_FITS = 21
"""Of three plans at three rates, in five folds: what the default study has."""
BYTES_PER_SECOND = 1e9
DAY = 86_400.0
FOLDER = Path(__file__).parent


def measure_fit(root: Path) -> dict[str, float]:
    """Return what the advised plan took: seconds of an image in an epoch, and bytes, of its prefix and handed over."""
    advice = read_json(root / "reports" / "metrics.json")
    costs, plans = (read_csv(root / "reports" / f"{name}.csv").set_index("plan") for name in ("costs", "plans"))
    row, views = costs.loc[advice["advised_plan"]], 1 + 4
    images = read_json(root / "data" / "prepared" / "prepared.json")["images"]
    return {
        "seconds_per_image": float(row.epoch_seconds / plans.train_images[advice["advised_plan"]]),
        "prefix_bytes_per_image": float(row.cache_bytes / images),
        "views": views,
        "handed_bytes": float(2 * row.learned_bytes + row.optimizer_bytes),
    }


def tabulate(fit: dict[str, float]) -> pd.DataFrame:
    """Return a row for each number of images: a study's seconds on a core, and its bytes."""
    return pd.DataFrame([
        {
            "images": images,
            "epoch_seconds": fit["seconds_per_image"] * 0.7 * images,  # what is not tested or validated
            "fit_seconds": fit["seconds_per_image"] * 0.7 * images * EPOCHS,
            "study_core_seconds": fit["seconds_per_image"] * 0.7 * images * EPOCHS * STUDY_FITS,
            "prefix_bytes": fit["prefix_bytes_per_image"] * images,
            "handed_bytes": fit["handed_bytes"] * EPOCHS * STUDY_FITS,
        }
        for images in IMAGES
    ])  # fmt: skip


def simulate_all(fit: dict[str, float]) -> pd.DataFrame:
    """Return a row for each number of images and nodes: what became of as many fits as keep all cores at work."""
    rows = []
    for images in IMAGES[:2]:
        for nodes in NODES:
            setting = Setting(
                nodes, CORES, nodes * CORES * FITS_PER_CORE, EPOCHS, fit["seconds_per_image"] * 0.7 * images,
                fit["handed_bytes"], BYTES_PER_SECOND, 30 * DAY, 600.0,
            )  # fmt: skip
            rows.append({"images": images, "nodes": nodes, "fits": setting.fits, **asdict(simulate(setting))})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    measured = measure_fit(Path())
    write_csv(FOLDER / "growth.csv", tabulate(measured))
    write_csv(FOLDER / "simulated.csv", simulate_all(measured))
