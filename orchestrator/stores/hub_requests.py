"""Requests to the Hub: made with its client, their errors ours, idempotent ones made again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from orchestrator.clock import SYSTEM_CLOCK, Clock
from orchestrator.errors import OrchestratorError
from orchestrator.hub_client import hub_error, prepare_client
from orchestrator.retry import retry_request

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")
Kind = Literal["model", "dataset"]


class HubRequests:
    """One Hub, one kind of repositories, one token (None: anonymous, whatever is logged in)."""

    def __init__(
        self,
        endpoint: str,
        token: str | None,
        timeout_s: float = 60.0,
        clock: Clock = SYSTEM_CLOCK,
        *,
        kind: Kind = "model",
    ) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._token = token
        self._timeout_s = timeout_s
        self._clock = clock
        self._kind: Kind = kind

    def _blocks(self, repo_id: str, revision: str, path: str) -> Iterator[bytes]:
        prepare_client(self._timeout_s)
        from huggingface_hub import get_session, hf_hub_url, hf_raise_for_status

        url = hf_hub_url(
            repo_id, path, revision=revision, repo_type=self._kind, endpoint=self._endpoint
        )
        with get_session().stream("GET", url, headers=self._headers()) as response:
            hf_raise_for_status(response)
            yield from response.iter_bytes()

    def _get_json(self, url: str, params: Mapping[str, Any]) -> Any:
        prepare_client(self._timeout_s)
        from huggingface_hub import get_session, hf_raise_for_status

        response = get_session().get(url, params=dict(params), headers=self._headers())
        hf_raise_for_status(response)
        return response.json()

    def _headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self._token}"} if self._token else {}

    def _api(self) -> HfApi:
        prepare_client(self._timeout_s)
        from huggingface_hub import HfApi

        # False, not None: None would pick up whatever token this machine has stored.
        return HfApi(endpoint=self._endpoint, token=self._token or False)

    def _asked(self, doing: str, call: Callable[[], T], *, once: bool = False) -> T:
        try:
            return call()
        except OrchestratorError:
            raise
        except Exception as error:
            mapped = hub_error(error, f"cannot {doing} at {self._endpoint}", once=once)
            if mapped is None:
                raise
            raise mapped from error

    def _retried(self, doing: str, call: Callable[[], T]) -> T:
        return retry_request(lambda: self._asked(doing, call), clock=self._clock)
