"""The Hugging Face hub: a data set's Parquet files at one commit, each checked against the hash that the hub has."""

import hashlib
import re
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import (
    DatasetCardData,
    DatasetInfo,
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_url,
    try_to_load_from_cache,
)

from stages.layout import check_layout
from stages.mistakes import mistake
from stages.outputs import read_json, sha256_of, write_json
from stages.params import Hub
from stages.patience import patiently
from stages.troubles import TROUBLES, in_one_line, status_of

CARD = "README.md"
COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Listing:
    """What the hub says of a data set: its commit, its licence, and the hash of each file.

    A hash of 64 digits is the SHA-256 of the content; one of 40 is git's, which small files have.
    """

    commit: str
    licence: str
    files: dict[str, str]


def download(asked: Hub) -> tuple[Path, Listing]:
    """Return the folder in which the data set's Parquet files and its card lie, and what the hub says of them.

    They lie in the hub's own cache (`HF_HOME`, `HF_HUB_CACHE`), where what is there already is not downloaded again.
    `HF_ENDPOINT`, `HF_TOKEN`, `HF_HUB_OFFLINE`, `HF_HUB_ETAG_TIMEOUT` and `HF_HUB_DOWNLOAD_TIMEOUT` (10 seconds of
    silence each) mean what they mean everywhere. A file whose hash is not the hub's is removed and refused.
    """
    listing = list_files(asked)
    card = verified_file(asked, listing, CARD) if CARD in listing.files else None
    check_layout(asked, [name for name in listing.files if name != CARD], card)
    paths = [verified_file(asked, listing, name) for name in listing.files]
    depth = next(iter(listing.files)).count("/")
    return paths[0].parents[depth], listing


def list_files(asked: Hub) -> Listing:
    """Return what the hub says; of a commit, which never changes, it is asked once, and offline what it said last.

    It is kept in the hub's `HF_ASSETS_CACHE`; where nothing can be written there, the hub is asked each time.
    """
    with in_one_line(asked, f"The list of files of {asked.dataset}"):
        folders = ("frostline", *(name.replace("/", "--") for name in (asked.dataset, asked.revision)))
        kept = Path(constants.HF_ASSETS_CACHE, *folders, "listing.json")
        if kept.is_file() and (COMMIT.fullmatch(asked.revision) or constants.is_offline_mode()):
            return Listing(**read_json(kept))
    listing = ask_for_files(asked)
    with suppress(OSError):
        write_json(kept, asdict(listing))
    return listing


def ask_for_files(asked: Hub) -> Listing:
    """Return the hub's answer about the data set's Parquet files and its card."""
    with in_one_line(
        asked, f"The list of files of {asked.dataset}", f"no list of files in {constants.HF_ASSETS_CACHE}"
    ):
        info = patiently(lambda: ask(asked), TROUBLES, status_of)
    hashes = {each.rfilename: each.lfs.sha256 if each.lfs else str(each.blob_id) for each in info.siblings or []}
    wanted = {name: hashes[name] for name in sorted(hashes) if name == CARD or name.endswith(".parquet")}
    if not set(wanted) - {CARD}:
        hint = "Of many data sets the hub keeps a copy in Parquet: try data.hub.revision: refs/convert/parquet."
        raise mistake(f"data.hub.dataset {asked.dataset}", "hold Parquet files", "none", hint)
    return Listing(str(info.sha), licence_of(info.card_data), wanted)


def ask(asked: Hub) -> DatasetInfo:
    """Return the hub's answer, or raise what the library does after `HF_HUB_ETAG_TIMEOUT` seconds of silence."""
    silence = constants.HF_HUB_ETAG_TIMEOUT
    return HfApi().dataset_info(asked.dataset, revision=asked.revision, files_metadata=True, timeout=silence)


def licence_of(card: DatasetCardData | None) -> str:
    """Return the licence, or licences, that the card names."""
    stated = card.get("license") if card else None
    return ", ".join(stated) if isinstance(stated, list) else stated or "not stated on the data set's card"


def verified_file(asked: Hub, listing: Listing, name: str) -> Path:
    """Return the path of the file, which is downloaded where it is not in the cache, and whose hash is the hub's."""
    with in_one_line(asked, f"{name} of {asked.dataset}", f"no such file in {constants.HF_HUB_CACHE}"):
        path = downloaded(asked.dataset, name, listing.commit)
    wanted = listing.files[name]
    found = hash_of(path, wanted)
    if found != wanted:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        kind = "SHA-256" if len(wanted) == 64 else "git hash"
        must = f"have the {kind} {wanted}, as the hub says"
        raise mistake(f"{name} of {asked.dataset}", must, found, "It is removed: try again.")
    return path


def downloaded(dataset: str, name: str, commit: str) -> Path:
    """Return the path of the file in the hub's cache, where it lies or is put.

    Where the hub is silent about a file, the library would ask six times for a minute each. So it is asked here first,
    as patiently as for anything else; only a hub that falls silent between the two keeps one waiting that long.
    """
    found = try_to_load_from_cache(dataset, name, repo_type="dataset", revision=commit)
    if isinstance(found, str):
        return Path(found)
    url = hf_hub_url(dataset, name, repo_type="dataset", revision=commit)
    silence = constants.HF_HUB_ETAG_TIMEOUT
    patiently(lambda: get_hf_file_metadata(url, timeout=silence), TROUBLES, status_of)
    return Path(HfApi().hf_hub_download(dataset, name, repo_type="dataset", revision=commit))


def hash_of(path: Path, like: str) -> str:
    """Return the file's hash, of the kind that `like` is."""
    if len(like) == 64:
        return sha256_of(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
