"""Tokens, and the credentials that are minted from them."""

from typing import Any

from litestar import Controller, Request, Response, delete, get, post, put
from litestar.di import NamedDependency
from litestar.params import FromPath

from fleetform.domain.access import Role
from fleetform.domain.project import Credential, CredentialRequest, Token
from fleetform.routes.access import route
from fleetform.routes.bodies import TokenList, TokenPut
from fleetform.routes.dependencies import Dependencies
from fleetform.routes.http import answer, etag, precondition, read, written
from fleetform.routes.parameters import Cursor, Limit
from fleetform.store import credentials, tokens


class TokenController(Controller):
    """Identities for programs. A token has no secret; its credentials do, and are shown once."""

    path = "/v1/projects/{project:str}/tokens"
    tags = ["tokens"]

    @get("/", operation_id="list_tokens", opt=route(Role.ADMIN, answers={200: TokenList}))
    async def list_tokens(
        self, project: FromPath[str], deps: NamedDependency[Dependencies], limit: Limit = 50, cursor: Cursor = None
    ) -> TokenList:
        """List a project's tokens, by name."""
        page = await tokens.page(project, limit, cursor, deps.now())
        return TokenList(items=page.items, next_cursor=page.next_cursor)

    @get("/{name:str}", operation_id="get_token", opt=route(Role.ADMIN, answers={200: Token}, etag=True))
    async def get_token(self, project: FromPath[str], name: FromPath[str], deps: NamedDependency[Dependencies]) -> Response[Token]:
        """Get a token with its live credentials, never their secrets."""
        found = await tokens.get(project, name, deps.now())
        return answer(found, etag(found.metadata.generation, found.status.revision))

    @put("/{name:str}", operation_id="put_token", opt=route(Role.ADMIN, body=TokenPut, answers={200: Token, 201: Token}, etag=True))
    async def put_token(
        self, request: Request[Any, Any, Any], project: FromPath[str], name: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> Response[Token]:
        """Create or replace a token. Taking a role or an endpoint away revokes its live credentials."""
        body = await read(request, TokenPut)
        outcome = await tokens.put(project, name, body.spec, request.auth, precondition(request), deps.now())
        return written(outcome, etag(outcome.resource.metadata.generation, outcome.resource.status.revision))

    @delete("/{name:str}", operation_id="delete_token", opt=route(Role.ADMIN, answers={204: None}, etag=True))
    async def delete_token(
        self, request: Request[Any, Any, Any], project: FromPath[str], name: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> None:
        """Delete a token: its credentials are revoked and its role bindings go."""
        await tokens.delete(project, name, precondition(request), deps.now())

    @post(
        "/{name:str}/credentials",
        operation_id="create_token_credential",
        opt=route(Role.ADMIN, body=CredentialRequest, answers={201: Credential}),
    )
    async def create_token_credential(
        self, request: Request[Any, Any, Any], project: FromPath[str], name: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> Response[Credential]:
        """Mint a credential. The secret is in this answer and nowhere else."""
        body = await read(request, CredentialRequest)
        minted = await credentials.mint(project, name, body, request.auth, deps.key, deps.settings.region, deps.now())
        return Response(minted, status_code=201, headers={"Cache-Control": "no-store"})

    @delete(
        "/{name:str}/credentials/{credential_id:str}",
        operation_id="delete_token_credential",
        opt=route(Role.ADMIN, answers={204: None}),
    )
    async def delete_token_credential(
        self, project: FromPath[str], name: FromPath[str], credential_id: FromPath[str], deps: NamedDependency[Dependencies]
    ) -> None:
        """Revoke a credential. Every gateway refuses it within seconds."""
        await credentials.revoke(project, name, credential_id, deps.now())
