"""The few calls of `huggingface_hub` that are made, and what their failures mean."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from tqdm import tqdm

from llmrouter.common.errors import Reason, RouterError
from llmrouter.inference.models.progress import Progress
from llmrouter.inference.models.sources.base import SourceUnreachableError
from llmrouter.inference.models.sources.hub_files import HubFile
from llmrouter.inference.models.sources.web import is_confidential
from llmrouter.inference.models.store import disk_error

__all__ = ["HubClient"]

_TIMEOUT = 10.0
_LOGIN = "set HF_TOKEN or run `hf auth login`"
_REFUSALS = (
    (GatedRepoError, f"its terms must be accepted on its page first; then {_LOGIN}"),
    (RepositoryNotFoundError, f"there is no such repository, or it is private: then {_LOGIN}"),
    (RevisionNotFoundError, "there is no such revision"),
    (RemoteEntryNotFoundError, "there is no such file"),
)
"""The narrower kinds first."""


class HubClient:
    """One repository at one revision, as the hub's own client sees it."""

    def __init__(self, repository: str, revision: str | None, place: str) -> None:
        self._repository, self._revision, self._place = repository, revision, place
        logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # it is told as progress
        if not is_confidential(constants.ENDPOINT):
            raise self._refusal(f"HF_ENDPOINT is {constants.ENDPOINT}, which is not https")

    def list(self) -> tuple[str, list[HubFile]]:
        """Return the commit that the revision is now, and all files of it.

        Raises:
            SourceUnreachableError: No hub answers.
            RouterError: MODEL_UNAVAILABLE with the hub's refusal and the remedy.
        """
        with self._told():
            found = HfApi().model_info(
                self._repository, revision=self._revision, files_metadata=True, timeout=_TIMEOUT
            )
        if not found.sha:
            raise self._refusal("the hub does not say which commit it is at")
        files = [
            HubFile(one.rfilename, one.size or 0, one.lfs.sha256 if one.lfs else None, one.blob_id)
            for one in found.siblings or ()
        ]
        return found.sha, files

    def download(self, file: HubFile, progress: Progress) -> Path:
        """Fetch one file into the hub's cache, or find it there, and return its path.

        By the revision as it was asked for, so that the cache finds it by that name again.

        Raises:
            SourceUnreachableError: The connection breaks again and again.
            RouterError: MODEL_UNAVAILABLE with the hub's refusal, or a full disk.
        """
        with self._told():
            return Path(
                hf_hub_download(
                    self._repository,
                    file.path,
                    revision=self._revision,
                    tqdm_class=_bars(progress),
                )
            )

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Say what a failure of the client means; its own text may hold signed addresses."""
        try:
            yield
        except (LocalEntryNotFoundError, httpx2.TransportError, FileMetadataError) as error:
            raise self._unreachable(f"no hub answers ({type(error).__name__})") from error
        except OfflineModeIsEnabled as error:
            raise self._unreachable("HF_HUB_OFFLINE is set") from error
        except HfHubHTTPError as error:
            raise self._answered(error) from error
        except HFValidationError as error:
            raise self._refusal("that is no name of a repository; write owner/name") from error
        except OSError as error:
            if error.errno is None:  # the client's own: too few bytes arrived
                raise self._unreachable("the connection broke") from error
            raise disk_error(error, Path(constants.HF_HUB_CACHE)) from error

    def _answered(self, error: HfHubHTTPError) -> RouterError:
        """Return the error for a hub that answers, but not with what was asked for."""
        for kind, why in _REFUSALS:
            if isinstance(error, kind):
                return self._refusal(why)
        status = error.response.status_code
        if status >= 500 or status in (408, 429):
            return self._unreachable(f"the hub answers {status}")
        return self._refusal(f"the hub answers {status}")

    def _refusal(self, why: str) -> RouterError:
        return RouterError(Reason.MODEL_UNAVAILABLE, f"cannot fetch {self._place}: {why}")

    def _unreachable(self, why: str) -> RouterError:
        return SourceUnreachableError(
            f"cannot fetch {self._place}: {why}; check the network and HF_ENDPOINT"
        )


def _bars(progress: Progress) -> type[Any]:
    """Return what the client takes for a progress bar, and is none."""

    class Bar(tqdm):  # type: ignore[misc]  # it comes without types
        def display(self, *_: object, **__: object) -> None:
            progress("download", int(self.n), int(self.total or 0))

    return Bar
