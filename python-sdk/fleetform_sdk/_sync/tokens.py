"""Generated from _async by `make generate`; do not edit."""

from typing import Unpack

from fleetform_sdk._generated import fields, models, operations
from fleetform_sdk._sync.pages import Pages
from fleetform_sdk._sync.resource import Resource, only_new
from fleetform_sdk.durations import Duration, seconds


class Tokens(Resource):
    """Tokens: identities with roles. A token holds no secret; credentials do, and are shown once."""

    def apply(self, name: str, *, create_only: bool = False, project: str | None = None, **spec: Unpack[fields.TokenSpec]) -> models.Token:
        """Create or replace the token. A role or endpoint taken away revokes its live credentials.

        create_only: PreconditionFailedError when a token of that name exists.
        """
        where = self._project(project)
        call = operations.put_token(project=where, name=name, body={"spec": spec}, if_none_match=only_new(create_only))
        return self._put(call, operations.get_token(project=where, name=name))

    def get(self, name: str, *, project: str | None = None) -> models.Token:
        """The token with its live credentials, without their secrets; NotFoundError when there is none."""
        return self._transport.send(operations.get_token(project=self._project(project), name=name))

    def list(self, *, project: str | None = None) -> Pages[models.Token]:
        """The tokens of the project."""
        where = self._project(project)
        return Pages(self._transport, lambda cursor: operations.list_tokens(project=where, cursor=cursor))

    def delete(self, name: str, *, project: str | None = None) -> None:
        """Delete the token; all its credentials are revoked."""
        self._transport.send(operations.delete_token(project=self._project(project), name=name))

    def mint(self, name: str, *, ttl: Duration | None = None, project: str | None = None) -> models.Credential:
        """A new credential of the token; its `secret` is in this answer and nowhere else.

        ttl: such as `"1h"`; at most, and left out, the token's `ttl_days`. Never sent twice: an answer that was lost leaves a
        credential that nobody holds, which `tokens.get` lists and `tokens.revoke` ends.
        """
        body = {} if ttl is None else {"ttl_s": int(seconds(ttl))}
        return self._transport.send(operations.create_token_credential(project=self._project(project), name=name, body=body))

    def revoke(self, name: str, credential_id: str, *, project: str | None = None) -> None:
        """End a credential; the gateway refuses it within 5 s."""
        self._transport.send(operations.delete_token_credential(project=self._project(project), name=name, credential_id=credential_id))
