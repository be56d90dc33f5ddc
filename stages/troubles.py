"""Troubles: what goes wrong between here and the Hugging Face hub, in one line."""

from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError

import httpx2
from huggingface_hub import constants
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
from stages.params import Hub
from stages.patience import BROKEN_DOWN

OFFLINE = "Offline, run make study STUDY=quick or STUDY=elpv_random, or take images of your own: data.source: folder."
TROUBLES = (httpx2.TransportError, HfHubHTTPError)
"""What the library raises where the hub gives no answer, or one that is no success."""


@contextmanager
def in_one_line(asked: Hub, what: str, lacking: str = "nothing") -> Iterator[None]:
    """Raise a `Mistake` about whatever goes wrong meanwhile; `lacking` says what is not here, should it be offline."""
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
        cause = error.__cause__ if isinstance(error, LocalEntryNotFoundError) and error.__cause__ else error
        got = f"HF_HUB_OFFLINE, and {lacking}," if isinstance(cause, OfflineModeIsEnabled) else reason(cause)
        raise mistake(what, f"come whole from {constants.ENDPOINT}", got, hint_about(cause)) from None


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
