"""Bring the study's images into one form that every hub tool reads.

Reads: the source named in params.yaml.
Writes: `images.parquet` (id, image, label, stratum, group, split) and `source.json`, into one folder.
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import datasets
from datasets.exceptions import DatasetGenerationError

from frostline.errors import run_command
from frostline.files import hash_file, open_whole_folder, write_json
from frostline.params.loading import load_params
from frostline.sources.base import Example, Source
from frostline.sources.local import open_source


def main(*, params: Path, out: Path) -> None:
    """Fetch the source of `params` into the folder `out`."""
    source = open_source(load_params(params).data)
    with open_whole_folder(out) as folder:
        images_per_class = write_parquet(source, folder / "images.parquet")
        facts: dict[str, Any] = {
            **source.facts,
            "classes": source.classes,
            "images": sum(images_per_class.values()),
            "images_per_class": images_per_class,
            "sha256": {"images.parquet": hash_file(folder / "images.parquet")},
        }
        write_json(folder / "source.json", facts)
    print(f"fetch: {facts['images']:,} images of {len(source.classes)} classes from {facts['origin']}")
    if "understood" in facts:
        print(f"fetch: {facts['origin']} was understood as {facts['understood']}")
    if facts.get("left_alone"):
        print(f"fetch: left alone were {', '.join(facts['left_alone'])}")


def write_parquet(source: Source, path: Path) -> dict[str, int]:
    """Write the examples one by one, so that memory does not grow with them; return the images per class."""
    counts: Counter[int] = Counter()

    def counted() -> Iterator[Example]:
        for example in source.examples():
            counts[example["label"]] += 1
            yield example

    features = datasets.Features({
        "id": datasets.Value("string"),
        "image": datasets.Image(),
        "label": datasets.ClassLabel(names=source.classes),
        "stratum": datasets.Value("string"),
        "group": datasets.Value("string"),
        "split": datasets.Value("string"),
    })  # fmt: skip
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        try:
            images = datasets.Dataset.from_generator(counted, features=features, cache_dir=scratch)
        except DatasetGenerationError as error:  # which datasets makes of whatever an example raises
            raise (error.__cause__ or error) from None
        images.to_parquet(path)
    return {name: counts[label] for label, name in enumerate(source.classes)}


if __name__ == "__main__":
    run_command(main)
