"""Model versions."""

import time
from typing import Unpack

from fleetform_sdk import _readiness
from fleetform_sdk._async.pages import AsyncPages
from fleetform_sdk._async.resource import AsyncResource
from fleetform_sdk._errors import VerificationFailed, WaitTimeout
from fleetform_sdk._generated import fields, models, operations
from fleetform_sdk.durations import Duration, seconds


class AsyncModelVersions(AsyncResource):
    """Model versions: immutable names for verified artifacts."""

    async def apply(
        self, model: str, version: str, *, project: str | None = None, **spec: Unpack[fields.ModelVersionSpec]
    ) -> models.ModelVersion:
        """Register the version; again with the same fields it changes nothing, with others it is a ConflictError.

        Answers before the artifact has been read: `wait_until_verified` tells whether it was accepted.
        """
        where = self._project(project)
        return await self._transport.send(operations.put_model_version(project=where, model=model, version=version, body={"spec": spec}))

    async def get(self, model: str, version: str, *, project: str | None = None) -> models.ModelVersion:
        """The version; NotFoundError when it is not registered."""
        return await self._transport.send(operations.get_model_version(project=self._project(project), model=model, version=version))

    def list(self, *, project: str | None = None) -> AsyncPages[models.ModelVersion]:
        """Every version of every model of the project."""
        where = self._project(project)
        return AsyncPages(self._transport, lambda cursor: operations.list_model_versions(project=where, cursor=cursor))

    async def delete(self, model: str, version: str, *, project: str | None = None) -> None:
        """Delete the version; ConflictError lists the endpoints that use it."""
        await self._transport.send(operations.delete_model_version(project=self._project(project), model=model, version=version))

    async def wait_until_verified(
        self, model: str, version: str, *, timeout: Duration = "30m", project: str | None = None
    ) -> models.ModelVersion:
        """The version once its artifact is verified. VerificationFailed: it was refused. WaitTimeout: still being read."""
        where, deadline = self._project(project), time.monotonic() + seconds(timeout)
        while True:
            began = time.monotonic()
            call = operations.get_model_version(project=where, model=model, version=version, wait_for="ready", timeout_s=_readiness.POLL_S)
            found = await self._poll(call)
            match _readiness.version_verdict(found):
                case _readiness.Ready():
                    return found
                case _readiness.Failed(reason, message):
                    raise VerificationFailed(found, reason, message)
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"model version {found.status.ref!r} is still being verified", found)
            await self._rest_of_poll(began)
