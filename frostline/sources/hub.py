"""Data sets of the Hugging Face hub: a pinned revision, downloaded whole and verified, its troubles in one line."""

import glob
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from functools import partial
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
    snapshot_download,
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
from frostline.params.schema import Hub
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
    card = take_files(asked, listing, [CARD]) / CARD if CARD in listing.files else None
    check_layout(asked, [name for name in listing.files if name != CARD], card)
    return take_files(asked, listing, list(listing.files)), listing


def list_files(asked: Hub) -> Listing:
    """Return what the hub says; of a commit, which never changes, it is asked once, and offline what it said last.

    It is kept in the hub's `HF_ASSETS_CACHE`; where nothing can be written there, the hub is asked each time.
    """
    with explain_trouble(asked, f"The list of files of {asked.dataset}"):
        folders = ("frostline", *(name.replace("/", "--") for name in (asked.dataset, asked.revision)))
        kept = Path(constants.HF_ASSETS_CACHE, *folders, "listing.json")
        if kept.is_file() and (COMMIT.fullmatch(asked.revision) or constants.is_offline_mode()):
            return Listing(**read_json(kept))
    listing = ask_for_files(asked)
    with suppress(InputError):  # where nothing can be kept, it is asked for each time
        write_json(kept, asdict(listing))
    return listing


def ask_for_files(asked: Hub) -> Listing:
    """Return the hub's answer about the data set's Parquet files and its card."""
    with explain_trouble(
        asked, f"The list of files of {asked.dataset}", f"no list of files in {constants.HF_ASSETS_CACHE}"
    ):
        info = ask_patiently(lambda: ask_hub(asked), TROUBLES, read_status)
    files = info.siblings or []
    hashes = {file.rfilename: file.lfs.sha256 if file.lfs else str(file.blob_id) for file in files}
    wanted = {name: hashes[name] for name in sorted(hashes) if name == CARD or name.endswith(".parquet")}
    if not set(wanted) - {CARD}:
        hint = "Of many data sets the hub keeps a copy in Parquet: try data.hub.revision: refs/convert/parquet."
        raise InputError.of(f"data.hub.dataset {asked.dataset}", "hold Parquet files", "none", hint)
    return Listing(str(info.sha), read_licence(info.card_data), wanted)


def ask_hub(asked: Hub) -> DatasetInfo:
    """Return the hub's answer, or raise what the library does after `HF_HUB_ETAG_TIMEOUT` seconds of silence."""
    silence = constants.HF_HUB_ETAG_TIMEOUT
    return HfApi().dataset_info(asked.dataset, revision=asked.revision, files_metadata=True, timeout=silence)


def read_licence(card: DatasetCardData | None) -> str:
    """Return the licence, or licences, that the card names."""
    stated = card.get("license") if card else None
    return ", ".join(stated) if isinstance(stated, list) else stated or "not stated on the data set's card"


def take_files(asked: Hub, listing: Listing, names: list[str]) -> Path:
    """Return the folder of the hub's cache in which these files lie, each with the hash that the hub says.

    Where the hub is silent, the library would ask six times for a minute each. So it is asked here first, as patiently
    as for anything else; only a hub that falls silent between the two keeps one waiting that long.
    """
    dataset, commit, silence = asked.dataset, listing.commit, constants.HF_HUB_ETAG_TIMEOUT
    in_cache = partial(try_to_load_from_cache, asked.dataset, repo_type="dataset", revision=commit)
    missing = [name for name in names if not isinstance(in_cache(name), str)]
    what = " and ".join([*missing[:1], *([f"{len(missing) - 1} more"] if missing[1:] else [])])
    with explain_trouble(asked, f"{what} of {dataset}", f"no such file in {constants.HF_HUB_CACHE}"):
        if missing:
            url = hf_hub_url(dataset, missing[0], repo_type="dataset", revision=commit)
            ask_patiently(lambda: get_hf_file_metadata(url, timeout=silence), TROUBLES, read_status)
        folder = snapshot_download(
            dataset,
            repo_type="dataset",
            revision=commit,
            allow_patterns=[glob.escape(name) for name in names],
            local_files_only=not missing,
        )
    for name in names:
        check_hash(asked, Path(folder, name), name, listing.files[name])
    return Path(folder)


def check_hash(asked: Hub, path: Path, name: str, wanted: str) -> None:
    """Raise an `InputError` about a file whose hash is not the hub's, and remove it from the cache."""
    found = hash_like(path, wanted)
    if found != wanted:
        path.resolve().unlink()
        path.unlink(missing_ok=True)
        kind = "SHA-256" if len(wanted) == 64 else "git hash"
        must = f"have the {kind} {wanted}, as the hub says"
        raise InputError.of(f"{name} of {asked.dataset}", must, found, "It is removed: try again.")


def hash_like(path: Path, wanted: str) -> str:
    """Return the file's hash, of the kind that `wanted` is."""
    if len(wanted) == 64:
        return hash_file(path)
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


OFFLINE = (
    "Offline, run make study STUDY=quick, STUDY=views, STUDY=adapt or STUDY=elpv_random, or take images of your own: "
    "data.source: folder."
)
TROUBLES = (httpx2.TransportError, HfHubHTTPError)
"""What the library raises where the hub gives no answer, or one that is no success."""


@contextmanager
def explain_trouble(asked: Hub, what: str, lacking: str = "nothing") -> Iterator[None]:
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
        got = f"HF_HUB_OFFLINE, and {lacking}," if isinstance(cause, OfflineModeIsEnabled) else put_briefly(cause)
        raise InputError.of(what, f"come whole from {constants.ENDPOINT}", got, suggest_help(cause)) from None


def put_briefly(error: BaseException) -> str:
    """Return in a few words why the hub did not give what it was asked for."""
    if isinstance(error, HfHubHTTPError):
        return f"the answer {error.response.status_code}"
    if isinstance(error, JSONDecodeError):
        return "an answer that is none of a hub's"
    words = " ".join(str(error).partition("\n")[0].split()).rstrip(".")
    return f"no answer ({words})" if isinstance(error, httpx2.TransportError) else words


def suggest_help(error: BaseException) -> str:
    """Return what may help: of a hub that cannot be reached or broke down, what runs without it."""
    status = read_status(error)
    if status in (401, 403):
        return "Check HF_TOKEN."
    if isinstance(error, JSONDecodeError):
        return "A login page may be in the way."
    return OFFLINE if status in BROKEN_DOWN or isinstance(error, httpx2.TransportError | OfflineModeIsEnabled) else ""


def read_status(error: BaseException) -> int | None:
    """Return the HTTP status of an answer that was no success."""
    return error.response.status_code if isinstance(error, HfHubHTTPError) else None
