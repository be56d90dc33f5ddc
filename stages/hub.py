"""The Hugging Face hub: a data set's Parquet files at one commit, each checked against the hash that the hub has."""

import hashlib
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from json import JSONDecodeError
from pathlib import Path

import httpx2
from huggingface_hub import DatasetCardData, DatasetInfo, HfApi, cached_assets_path, constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from stages.mistakes import mistake
from stages.outputs import read_json, sha256_of, write_json
from stages.params import Hub

CARD = "README.md"
COMMIT = re.compile(r"[0-9a-f]{40}")
WAITS = (1, 2)
"""Seconds before the hub is asked again, where it did not answer or broke down."""
BROKEN_DOWN = (408, 429, 500, 502, 503, 504)
"""HTTP answers after which asking again may help."""
OFFLINE = "Offline, run make study STUDY=digits or STUDY=elpv_random, or take images of your own: data.source: folder."


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
    paths = [verified_file(asked, listing, name) for name in listing.files]
    depth = next(iter(listing.files)).count("/")
    return paths[0].parents[depth], listing


def list_files(asked: Hub) -> Listing:
    """Return what the hub says; of a commit, which never changes, it is asked once, and offline what it said last."""
    names = {"namespace": asked.dataset, "subfolder": asked.revision, "assets_dir": constants.HF_ASSETS_CACHE}
    kept = cached_assets_path("frostline", **names) / "listing.json"
    if kept.is_file() and (COMMIT.fullmatch(asked.revision) or constants.is_offline_mode()):
        return Listing(**read_json(kept))
    listing = ask_for_files(asked)
    write_json(kept, asdict(listing))
    return listing


def ask_for_files(asked: Hub) -> Listing:
    """Return the hub's answer about the data set's Parquet files and its card."""
    with in_one_line(asked, f"The list of files of {asked.dataset}"):
        info = ask(asked)
    hashes = {each.rfilename: each.lfs.sha256 if each.lfs else str(each.blob_id) for each in info.siblings or []}
    wanted = {name: hashes[name] for name in sorted(hashes) if name == CARD or name.endswith(".parquet")}
    if not set(wanted) - {CARD}:
        hint = "Of many data sets the hub keeps a copy in Parquet: try data.hub.revision: refs/convert/parquet."
        raise mistake(f"data.hub.dataset {asked.dataset}", "hold Parquet files", "none", hint)
    return Listing(str(info.sha), licence_of(info.card_data), wanted)


def ask(asked: Hub) -> DatasetInfo:
    """Return the hub's answer. A hub that is silent or breaks down is asked again; one that refuses is not."""
    for wait in (*WAITS, None):
        try:
            return HfApi().dataset_info(
                asked.dataset, revision=asked.revision, files_metadata=True, timeout=constants.HF_HUB_ETAG_TIMEOUT
            )
        except (httpx2.TransportError, HfHubHTTPError) as error:
            refused = isinstance(error, HfHubHTTPError) and error.response.status_code not in BROKEN_DOWN
            if wait is None or refused:
                raise
            time.sleep(wait)
    raise AssertionError  # the last turn returns or raises


def licence_of(card: DatasetCardData | None) -> str:
    """Return the licence, or licences, that the card names."""
    stated = card.get("license") if card else None
    return ", ".join(stated) if isinstance(stated, list) else stated or "not stated on the data set's card"


def verified_file(asked: Hub, listing: Listing, name: str) -> Path:
    """Return the path of the file, which is downloaded where it is not in the cache, and whose hash is the hub's."""
    with in_one_line(asked, f"{name} of {asked.dataset}"):
        path = Path(HfApi().hf_hub_download(asked.dataset, name, repo_type="dataset", revision=listing.commit))
    wanted = listing.files[name]
    found = hash_of(path, wanted)
    if found != wanted:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        kind = "SHA-256" if len(wanted) == 64 else "git hash"
        must = f"have the {kind} {wanted}, as the hub says"
        raise mistake(f"{name} of {asked.dataset}", must, found, "It is removed: try again.")
    return path


def hash_of(path: Path, like: str) -> str:
    """Return the file's hash, of the kind that `like` is."""
    if len(like) == 64:
        return sha256_of(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


@contextmanager
def in_one_line(asked: Hub, what: str) -> Iterator[None]:
    """Raise a `Mistake` about whatever goes wrong between here and the hub."""
    try:
        yield
    except HFValidationError:
        raise mistake("data.hub.dataset", "be a name such as AI-Lab-Makerere/beans", repr(asked.dataset)) from None
    except GatedRepoError:
        hint = f"Ask for access at {constants.ENDPOINT}/datasets/{asked.dataset}, and give HF_TOKEN."
        raise mistake("data.hub.dataset", "be open to you", f"{asked.dataset!r}, which is gated", hint) from None
    except RepositoryNotFoundError:
        must, hint = f"name a data set at {constants.ENDPOINT}", "A private one needs HF_TOKEN."
        raise mistake("data.hub.dataset", must, repr(asked.dataset), hint) from None
    except RevisionNotFoundError:
        must = f"be a commit, tag or branch of {asked.dataset}"
        raise mistake("data.hub.revision", must, repr(asked.revision)) from None
    # Among them what a wrong length, a full disk, the hub's faster protocol (xet) and a portal's login page raise.
    except (httpx2.TransportError, OSError, RuntimeError, ValueError) as error:
        raise mistake(what, f"come whole from {constants.ENDPOINT}", reason(error), OFFLINE) from None


def reason(error: BaseException) -> str:
    """Return in a few words why the hub did not give what it was asked for."""
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        error = error.__cause__
    if isinstance(error, OfflineModeIsEnabled):
        return f"HF_HUB_OFFLINE, and nothing in {constants.HF_HUB_CACHE},"
    if isinstance(error, HfHubHTTPError):
        return f"the answer {error.response.status_code}"
    if isinstance(error, JSONDecodeError):
        return "an answer that is none of a hub's"
    words = " ".join(str(error).partition("\n")[0].split()).rstrip(".")
    return f"no answer ({words})" if isinstance(error, httpx2.TransportError) else words
