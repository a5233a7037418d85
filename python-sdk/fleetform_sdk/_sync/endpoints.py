"""Generated from _async by `make generate`; do not edit."""

import time
from collections.abc import Callable, Mapping
from typing import Any

from fleetform_sdk import _readiness, _splits
from fleetform_sdk._errors import NotFoundError, RolloutFailed, WaitTimeout
from fleetform_sdk._generated import fields, models, operations
from fleetform_sdk._sync.pages import Pages
from fleetform_sdk._sync.resource import Change, Resource, only_new
from fleetform_sdk.durations import Duration, seconds

EndpointSpec = fields.EndpointSpec | models.EndpointSpec | Mapping[str, Any]
Progress = Callable[[models.Endpoint], None]
RolloutProgress = Callable[[models.Endpoint, models.Rollout], None]


class Endpoints(Resource):
    """Endpoints: each owns its variants, their traffic and their scaling."""

    def apply(
        self,
        name: str,
        spec: EndpointSpec,
        *,
        wait: bool = False,
        timeout: Duration = "30m",
        on_progress: Progress | None = None,
        on_rollout: RolloutProgress | None = None,
        create_only: bool = False,
        project: str | None = None,
    ) -> models.Endpoint:
        """Create the endpoint, or replace its whole spec; with wait, return once it serves as `wait_until_ready` does.

        create_only: PreconditionFailedError when an endpoint of that name exists.
        """
        where = self._project(project)
        call = operations.put_endpoint(project=where, name=name, body={"spec": spec}, if_none_match=only_new(create_only))
        applied = self._put(call, operations.get_endpoint(project=where, name=name))
        if not wait:
            return applied
        generation = applied.metadata.generation
        return self.wait_until_ready(
            name, generation=generation, timeout=timeout, on_progress=on_progress, on_rollout=on_rollout, project=where
        )

    def update(self, name: str, change: Change, *, project: str | None = None) -> models.Endpoint:
        """Change part of the spec: read it, and put change(spec) in its place unless somebody else wrote in between, else start anew.

        change gets the spec as JSON, so that fields which this SDK does not know are kept, and may be called more than once.
        PreconditionFailedError: others were faster five times in a row.
        """
        where = self._project(project)
        return self._update(
            operations.get_endpoint(project=where, name=name),
            lambda body, etag: operations.put_endpoint(project=where, name=name, body=body, if_match=etag),
            change,
        )

    def set_traffic(self, name: str, split: Mapping[str, int], *, project: str | None = None) -> models.Endpoint:
        """Give each variant its weight in percent; a variant that is left out gets none.

        A key is a variant's name, else a registered version of the endpoint's single model, which is added as a variant when it
        is not one yet. InvalidSplit: the keys do not say which variants are meant.
        """
        return self.update(name, lambda spec: _splits.with_split(spec, split), project=project)

    def get(self, name: str, *, project: str | None = None) -> models.Endpoint:
        """The endpoint; NotFoundError when there is none."""
        return self._transport.send(operations.get_endpoint(project=self._project(project), name=name))

    def list(self, *, project: str | None = None) -> Pages[models.Endpoint]:
        """The endpoints of the project."""
        where = self._project(project)
        return Pages(self._transport, lambda cursor: operations.list_endpoints(project=where, cursor=cursor))

    def delete(
        self, name: str, *, wait: bool = False, timeout: Duration = "20m", on_progress: Progress | None = None, project: str | None = None
    ) -> None:
        """Delete the endpoint; with wait, return once its replicas are gone. ConflictError: it is protected."""
        self._transport.send(operations.delete_endpoint(project=self._project(project), name=name))
        if wait:
            self.wait_until_deleted(name, timeout=timeout, on_progress=on_progress, project=project)

    def wait_until_ready(
        self,
        name: str,
        *,
        generation: int | None = None,
        timeout: Duration = "30m",
        on_progress: Progress | None = None,
        on_rollout: RolloutProgress | None = None,
        project: str | None = None,
    ) -> models.Endpoint:
        """The endpoint once what serves is what was wanted. generation: of the wish; None for the newest, also if it changes meanwhile.

        on_progress is called with every status that differs from the last, on_rollout with every new word about the rollout to
        that generation: its step, and what the step is judged by so far. RolloutFailed: it will not come about, with the server's
        evidence, or another's change has taken its place. WaitTimeout: not yet.
        """
        where, deadline, seen = self._project(project), time.monotonic() + seconds(timeout), -1
        told: models.Rollout | None = None
        wanted = generation or (self.get(name, project=where)).metadata.generation
        while True:
            began = time.monotonic()
            call = operations.get_endpoint(project=where, name=name, wait_for="ready", generation=wanted, timeout_s=_readiness.POLL_S)
            endpoint = self._poll(call)
            wanted = generation or endpoint.metadata.generation
            if on_rollout is not None:
                rollout = self._rollout(where, name, wanted)
                if rollout is not None and rollout != told:
                    on_rollout(endpoint, rollout)
                told = rollout
            if on_progress is not None and endpoint.status.revision != seen:
                on_progress(endpoint)
            seen = endpoint.status.revision
            match _readiness.endpoint_verdict(endpoint, wanted):
                case _readiness.Ready():
                    return endpoint
                case _readiness.Failed(reason, message, evidence):
                    raise RolloutFailed(endpoint, reason, message, evidence)
            if _readiness.waits_for_versions(endpoint):
                self._fail_on_refused_version(endpoint, where)
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"endpoint {name!r} is not ready yet: {endpoint.status.phase}", endpoint)
            self._rest_of_poll(began)

    def wait_until_deleted(
        self, name: str, *, timeout: Duration = "20m", on_progress: Progress | None = None, project: str | None = None
    ) -> None:
        """Return once the endpoint and its replicas are gone. WaitTimeout: not yet."""
        where, deadline, seen = self._project(project), time.monotonic() + seconds(timeout), -1
        while True:
            began = time.monotonic()
            call = operations.get_endpoint(project=where, name=name, wait_for="deleted", timeout_s=_readiness.POLL_S)
            try:
                endpoint = self._poll(call)
            except NotFoundError:
                return
            if on_progress is not None and endpoint.status.revision != seen:
                on_progress(endpoint)
            seen = endpoint.status.revision
            if time.monotonic() >= deadline:
                raise WaitTimeout(f"endpoint {name!r} is still being deleted", endpoint)
            self._rest_of_poll(began)

    def replicas(self, name: str, *, project: str | None = None) -> Pages[models.ReplicaView]:
        """The replicas of the endpoint, those of old versions included."""
        where = self._project(project)
        return Pages(self._transport, lambda cursor: operations.list_endpoint_replicas(project=where, name=name, cursor=cursor))

    def events(self, name: str, *, project: str | None = None) -> Pages[models.Event]:
        """What happened to the endpoint, newest first."""
        where = self._project(project)
        return Pages(self._transport, lambda cursor: operations.list_endpoint_events(project=where, name=name, cursor=cursor))

    def rollouts(self, name: str, *, project: str | None = None) -> Pages[models.Rollout]:
        """How the endpoint's traffic moved to each generation, newest first: its steps, their verdicts, and why one was rolled back."""
        where = self._project(project)
        return Pages(self._transport, lambda cursor: operations.list_endpoint_rollouts(project=where, name=name, cursor=cursor))

    def logs(self, name: str, replica_id: str, *, lines: int | None = None, project: str | None = None) -> models.LogText:
        """The last lines that the engine of a replica wrote, redacted; also of one that failed or is gone, for a while."""
        where = self._project(project)
        return self._transport.send(operations.get_replica_log(project=where, name=name, replica_id=replica_id, lines=lines))

    def openai(self, name: str, credential: models.Credential | str, *, project: str | None = None) -> dict[str, str]:
        """Keyword arguments for `openai.OpenAI` that reach this endpoint; its name is the `model` to ask for."""
        endpoint = self.get(name, project=project)
        return {"base_url": endpoint.status.url, "api_key": credential if isinstance(credential, str) else credential.secret}

    def _rollout(self, project: str, name: str, generation: int) -> models.Rollout | None:
        """The newest rollout, if it is the one to generation or a later one."""
        try:
            newest = self._poll(operations.list_endpoint_rollouts(project=project, name=name, limit=1))
        except NotFoundError:  # a server of an earlier release keeps none
            return None
        return next((rollout for rollout in newest.items if rollout.generation >= generation), None)

    def _fail_on_refused_version(self, endpoint: models.Endpoint, project: str) -> None:
        """RolloutFailed when a version that the endpoint waits for was refused for good."""
        for variant in endpoint.spec.variants.values():
            model, _, version = variant.model_version.partition(":")
            found = self._poll(operations.get_model_version(project=project, model=model, version=version))
            verdict = _readiness.version_verdict(found)
            if isinstance(verdict, _readiness.Failed):
                raise RolloutFailed(endpoint, verdict.reason, f"model version {variant.model_version} was refused: {verdict.message}")
