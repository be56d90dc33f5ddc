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
BYTES_PER_SECOND = 1e9
DAY = 86_400.0
FOLDER = Path(__file__).parent


def measure_fit(root: Path) -> dict[str, float]:
    """Return how many fits the study had, and what its advised plan took: seconds of an image, and bytes."""
    advice = read_json(root / "reports" / "metrics.json")
    costs, plans = (read_csv(root / "reports" / f"{name}.csv").set_index("plan") for name in ("costs", "plans"))
    row, study = costs.loc[advice["advised_plan"]], read_json(root / "reports" / "study.json")
    fits = read_csv(root / "reports" / "history.csv").groupby(["plan", "learning_rate", "replicate"]).ngroups
    return {
        "fits": fits,
        "share_trained": study["train_images"] / study["test_images"],  # each image is tested once
        "seconds_per_image": float(row.epoch_seconds / plans.train_images[advice["advised_plan"]]),
        "prefix_bytes_per_image": float(row.cache_bytes / study["test_images"]),
        "handed_bytes": float(2 * row.learned_bytes + row.optimizer_bytes),
    }


def tabulate(fit: dict[str, float]) -> pd.DataFrame:
    """Return a row for each number of images: a study's seconds on a core, and its bytes."""
    epochs = [find_epoch_seconds(fit, images) for images in IMAGES]
    return pd.DataFrame({
        "images": IMAGES,
        "fits": fit["fits"],
        "epochs": EPOCHS,
        "fit_seconds": [seconds * EPOCHS for seconds in epochs],
        "study_core_seconds": [seconds * EPOCHS * fit["fits"] for seconds in epochs],
        "prefix_bytes": [fit["prefix_bytes_per_image"] * images for images in IMAGES],
        "handed_bytes": fit["handed_bytes"] * EPOCHS * fit["fits"],
    })  # fmt: skip


def find_epoch_seconds(fit: dict[str, float], images: int) -> float:
    """Return what an epoch takes of a study of so many images."""
    return fit["seconds_per_image"] * fit["share_trained"] * images


def simulate_all(fit: dict[str, float]) -> pd.DataFrame:
    """Return a row for each number of images and nodes: what became of as many fits as keep all cores at work."""
    rows = []
    for images in IMAGES[:2]:
        for nodes in NODES:
            setting = Setting(
                nodes, CORES, nodes * CORES * FITS_PER_CORE, EPOCHS, find_epoch_seconds(fit, images),
                fit["handed_bytes"], BYTES_PER_SECOND, 30 * DAY, 600.0,
            )  # fmt: skip
            rows.append({"images": images, "nodes": nodes, "fits": setting.fits, **asdict(simulate(setting))})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    measured = measure_fit(Path())
    write_csv(FOLDER / "growth.csv", tabulate(measured))
    write_csv(FOLDER / "simulated.csv", simulate_all(measured))
