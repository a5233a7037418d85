"""AsyncClient: one control API, one token, one default project."""

from collections.abc import Mapping
from types import TracebackType
from typing import Self

import httpx2

from fleetform_sdk import _environment
from fleetform_sdk._async.endpoints import AsyncEndpoints
from fleetform_sdk._async.model_versions import AsyncModelVersions
from fleetform_sdk._async.region import AsyncEngines, AsyncInstanceTypes, AsyncProjects, AsyncRegion
from fleetform_sdk._async.tenancy import AsyncQuotas, AsyncRoleBindings
from fleetform_sdk._async.tokens import AsyncTokens
from fleetform_sdk._async.transport import AsyncTransport
from fleetform_sdk._version import __version__
from fleetform_sdk.durations import Duration, seconds

DEFAULT_TIMEOUT = "60s"
DEFAULT_MAX_RETRIES = 2


class AsyncClient:
    """The control API. What is not passed comes from FLEETFORM_BASE_URL, FLEETFORM_TOKEN and FLEETFORM_PROJECT.

    timeout: of one attempt. max_retries: attempts after the first, for what may safely be repeated. http_client: yours to close;
    without it the client makes one, which trusts the system's certificates (SSL_CERT_FILE names others).
    Nothing is sent before the first call. Use it as a context manager, or call `aclose`.
    """

    def __init__(
        self,
        token: str | None = None,
        *,
        base_url: str | None = None,
        project: str | None = None,
        timeout: Duration = DEFAULT_TIMEOUT,
        max_retries: int = DEFAULT_MAX_RETRIES,
        default_headers: Mapping[str, str] | None = None,
        http_client: httpx2.AsyncClient | None = None,
    ) -> None:
        url = _environment.base_url(base_url)
        secret = _environment.token(token)
        self._owns_http = http_client is None
        self._transport = AsyncTransport(
            http_client if http_client is not None else httpx2.AsyncClient(),
            base_url=url,
            token=secret,
            timeout_s=seconds(timeout),
            max_retries=max_retries,
            headers={"user-agent": f"fleetform-sdk/{__version__}", **(default_headers or {})},
        )
        self._bind(_environment.project(project))

    def _bind(self, project: str | None) -> None:
        self.project = project
        self.endpoints = AsyncEndpoints(self._transport, project)
        self.model_versions = AsyncModelVersions(self._transport, project)
        self.tokens = AsyncTokens(self._transport, project)
        self.quotas = AsyncQuotas(self._transport, project)
        self.role_bindings = AsyncRoleBindings(self._transport, project)
        self.projects = AsyncProjects(self._transport, project)
        self.instance_types = AsyncInstanceTypes(self._transport, project)
        self.engines = AsyncEngines(self._transport, project)
        self.region = AsyncRegion(self._transport, project)

    def with_options(
        self,
        *,
        project: str | None = None,
        timeout: Duration | None = None,
        max_retries: int | None = None,
        default_headers: Mapping[str, str] | None = None,
    ) -> Self:
        """A client that differs in these and shares the connections; closing it leaves them open."""
        copy = object.__new__(type(self))
        old = self._transport
        copy._owns_http = False
        copy._transport = AsyncTransport(
            old.http,
            base_url=old.base_url,
            token=old.token,
            timeout_s=old.timeout_s if timeout is None else seconds(timeout),
            max_retries=old.max_retries if max_retries is None else max_retries,
            headers={**old.headers, **(default_headers or {})},
        )
        copy._transport.sleep = old.sleep
        copy._bind(project or self.project)
        return copy

    @property
    def base_url(self) -> str:
        """Where the control API is."""
        return self._transport.base_url

    async def aclose(self) -> None:
        """Close the connections, if this client made them."""
        if self._owns_http:
            await self._transport.http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, type_: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        await self.aclose()

    def __repr__(self) -> str:
        return f"{type(self).__name__}(base_url={self.base_url!r}, project={self.project!r}, token=<hidden>)"
