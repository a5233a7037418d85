"""The host protocol over HTTP: decode, hand on, encode. What the messages mean stands in domain/protocol.py.

POST /v1/commands            CommandRequest → CommandResult, or 409 HostRefusal
GET  /v1/observe             ?since=N&wait_s=S → HostReport
GET  /v1/load                → HostLoad
GET  /v1/replicas/{id}       → HostReplica, or 404
GET  /v1/replicas/{id}/log   ?lines=N → LogText
GET  /v1/gateway/windows     ?key=K&since=T → Windows
GET  /v1/gateway/recent      ?window_s=S → endpoint key → Windows
POST /v1/gateway/snapshot    SnapshotUpdate → PublishResult, or 409 HostRefusal
POST /v1/shutdown            stop every engine; answers when all have exited
GET  /healthz                HostHealth, 200 while the worker runs

The socket is 0600 in a directory that is 0700: who may connect is this machine's own user.
"""

from datetime import UTC, datetime
from typing import Annotated, Any

import msgspec
import structlog
from litestar import Litestar, Request, Response, get, post
from litestar.di import Provide
from litestar.exceptions import HTTPException, NotFoundException
from litestar.params import Parameter

from fleetform.domain.load import HostLoad, Windows
from fleetform.domain.protocol import CommandRequest, CommandResult, HostHealth, HostRefusal, HostReplica, HostReport, LogText
from fleetform.gateway.feed import GatewayFeed
from fleetform.gateway.snapshot import PublishResult, SnapshotUpdate
from fleetform.gateway.telemetry import Telemetry
from fleetform.gateway.windows import KEPT_S
from fleetform.host.board import Board
from fleetform.host.commands import Commands
from fleetform.host.engine_watch import EngineWatch
from fleetform.host.replicas import Replicas

WAIT_MAX_S = 60
LOG_LINES_MAX = 5000
BODY_MAX_BYTES = 256 * 1024 * 1024

log = structlog.get_logger(__name__)


@post("/v1/commands", status_code=200)
async def command(data: CommandRequest, commands: Commands) -> Response[CommandResult | HostRefusal]:
    result = await commands.run(data)
    return Response(result, status_code=409 if isinstance(result, HostRefusal) else 200)


@get("/v1/observe")
async def observe(
    board: Board,
    feed: GatewayFeed,
    since: Annotated[int, Parameter(ge=0)] = 0,
    wait_s: Annotated[float, Parameter(ge=0, le=WAIT_MAX_S)] = 0,
) -> HostReport:
    feed.waiting.heard_server()
    return await board.observe(since, wait_s)


@get("/v1/load")
async def load(board: Board, telemetry: Telemetry, engines: EngineWatch) -> HostLoad:
    return HostLoad(host=board.capacity.host, at=datetime.now(UTC), gateway=telemetry.sampler.load(), engines=engines.loads())


@get("/v1/replicas/{replica_id:str}")
async def replica(replica_id: str, replicas: Replicas) -> HostReplica:
    found = await replicas.shown(replica_id)
    if found is None:
        raise NotFoundException(detail=f"no replica {replica_id} is known here")
    return found


@get("/v1/replicas/{replica_id:str}/log", sync_to_thread=True)
def replica_log(replica_id: str, replicas: Replicas, lines: Annotated[int, Parameter(ge=1, le=LOG_LINES_MAX)] = 200) -> LogText:
    return LogText(replica_id=replica_id, lines=replicas.log_lines(replica_id, lines))


@get("/v1/gateway/windows")
async def windows(telemetry: Telemetry, key: str, since: datetime) -> Windows:
    return telemetry.windows(key, since if since.tzinfo else since.replace(tzinfo=UTC))


@get("/v1/gateway/recent")
async def recent(telemetry: Telemetry, window_s: Annotated[float, Parameter(gt=0, le=KEPT_S)] = 60) -> dict[str, Windows]:
    return telemetry.recent(window_s)


@post("/v1/gateway/snapshot", status_code=200, request_max_body_size=BODY_MAX_BYTES)
async def snapshot(data: SnapshotUpdate, commands: Commands, feed: GatewayFeed) -> Response[PublishResult | HostRefusal]:
    refusal = await commands.admit(data.epoch)
    if refusal is not None:
        return Response(refusal, status_code=409)
    return Response(await feed.publish(data))


@post("/v1/shutdown", status_code=204)
async def shutdown(replicas: Replicas) -> None:
    await replicas.stop_all()


@get("/healthz")
async def health(feed: GatewayFeed, replicas: Replicas) -> HostHealth:
    return HostHealth(server_heard_s=feed.waiting.server_heard_s(), snapshots=replicas.host.snapshots.told())


def make_app(
    board: Board, commands: Commands, replicas: Replicas, feed: GatewayFeed, telemetry: Telemetry, engines: EngineWatch
) -> Litestar:
    """The worker's API over its parts."""
    parts = {"board": board, "commands": commands, "replicas": replicas, "feed": feed, "telemetry": telemetry, "engines": engines}
    return Litestar(
        [command, observe, load, replica, replica_log, windows, recent, snapshot, shutdown, health],
        dependencies={name: _always(part) for name, part in parts.items()},
        exception_handlers={HTTPException: _http_error, Exception: _bug},
        logging_config=None,
        openapi_config=None,
    )


def _always(part: Any) -> Provide:
    def give() -> Any:
        return part

    return Provide(give, sync_to_thread=False)


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    body = msgspec.json.encode({"reason": "BadRequest", "message": error.detail})
    return Response(body, status_code=error.status_code, media_type="application/json")


def _bug(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    log.error("call_failed", path=request.url.path, exc_info=error)
    return Response(
        msgspec.json.encode({"reason": "Internal", "message": "see the worker's log"}), status_code=500, media_type="application/json"
    )
