"""Data sets of the Hugging Face hub: a pinned revision, downloaded whole and verified, its troubles in one line."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from json import JSONDecodeError
from pathlib import Path

import httpx2
from huggingface_hub import (
    DatasetCardData,
    DatasetInfo,
    HfApi,
    constants,
    get_hf_file_metadata,
    hf_hub_url,
    try_to_load_from_cache,
)
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from frostline.downloads import BROKEN_DOWN, ask_patiently
from frostline.errors import InputError
from frostline.files import hash_file, read_json, write_json
from frostline.params import Hub
from frostline.sources.parquet import check_layout

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
        info = ask_patiently(lambda: ask(asked), TROUBLES, status_of)
    hashes = {each.rfilename: each.lfs.sha256 if each.lfs else str(each.blob_id) for each in info.siblings or []}
    wanted = {name: hashes[name] for name in sorted(hashes) if name == CARD or name.endswith(".parquet")}
    if not set(wanted) - {CARD}:
        hint = "Of many data sets the hub keeps a copy in Parquet: try data.hub.revision: refs/convert/parquet."
        raise InputError.of(f"data.hub.dataset {asked.dataset}", "hold Parquet files", "none", hint)
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
        raise InputError.of(f"{name} of {asked.dataset}", must, found, "It is removed: try again.")
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
    ask_patiently(lambda: get_hf_file_metadata(url, timeout=silence), TROUBLES, status_of)
    return Path(HfApi().hf_hub_download(dataset, name, repo_type="dataset", revision=commit))


def hash_of(path: Path, like: str) -> str:
    """Return the file's hash, of the kind that `like` is."""
    if len(like) == 64:
        return hash_file(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


OFFLINE = "Offline, run make study STUDY=quick or STUDY=elpv_random, or take images of your own: data.source: folder."
TROUBLES = (httpx2.TransportError, HfHubHTTPError)
"""What the library raises where the hub gives no answer, or one that is no success."""


@contextmanager
def in_one_line(asked: Hub, what: str, lacking: str = "nothing") -> Iterator[None]:
    """Raise an `InputError` about whatever goes wrong meanwhile; `lacking` says what is not here, if offline."""
    try:
        yield
    except HFValidationError:
        raise InputError.of(
            "data.hub.dataset", "be a name such as AI-Lab-Makerere/beans", repr(asked.dataset)
        ) from None
    except GatedRepoError:
        hint = f"Ask for access at {constants.ENDPOINT}/datasets/{asked.dataset}, and give HF_TOKEN."
        raise InputError.of("data.hub.dataset", "be open to you", f"{asked.dataset!r}, which is gated", hint) from None
    except RepositoryNotFoundError:
        must, hint = f"name a data set at {constants.ENDPOINT}", "A private one needs HF_TOKEN."
        raise InputError.of("data.hub.dataset", must, repr(asked.dataset), hint) from None
    except RevisionNotFoundError:
        must = f"be a commit, tag or branch of {asked.dataset}"
        raise InputError.of("data.hub.revision", must, repr(asked.revision)) from None
    # Among them what a wrong length, a full disk, the hub's faster protocol (xet) and a portal's login page raise.
    except (httpx2.TransportError, OSError, RuntimeError, ValueError) as error:
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        got = f"HF_HUB_OFFLINE, and {lacking}," if isinstance(cause, OfflineModeIsEnabled) else reason(cause)
        raise InputError.of(what, f"come whole from {constants.ENDPOINT}", got, hint_about(cause)) from None


def reason(error: BaseException) -> str:
    """Return in a few words why the hub did not give what it was asked for."""
    if isinstance(error, HfHubHTTPError):
        return f"the answer {error.response.status_code}"
    if isinstance(error, JSONDecodeError):
        return "an answer that is none of a hub's"
    words = " ".join(str(error).partition("\n")[0].split()).rstrip(".")
    return f"no answer ({words})" if isinstance(error, httpx2.TransportError) else words


def hint_about(error: BaseException) -> str:
    """Return what may help: of a hub that cannot be reached or broke down, what runs without it."""
    status = status_of(error)
    if status in (401, 403):
        return "Check HF_TOKEN."
    if isinstance(error, JSONDecodeError):
        return "A login page may be in the way."
    return OFFLINE if status in BROKEN_DOWN or isinstance(error, httpx2.TransportError | OfflineModeIsEnabled) else ""


def status_of(error: BaseException) -> int | None:
    """Return the HTTP status of an answer that was no success."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None
