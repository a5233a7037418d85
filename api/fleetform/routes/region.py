"""Where the caller is, and whether the server is well."""

from litestar import Controller, get
from litestar.di import NamedDependency

from fleetform import __version__
from fleetform.routes.access import ANYONE, PUBLIC, route
from fleetform.routes.bodies import Health, Region
from fleetform.routes.dependencies import Dependencies
from fleetform.store import database


class RegionController(Controller):
    """One region is one installation."""

    tags = ["region"]

    @get("/v1/region", operation_id="get_region", opt=route(ANYONE, answers={200: Region}))
    async def get_region(self, deps: NamedDependency[Dependencies]) -> Region:
        """Get the region's name and where its models are served."""
        return Region(name=deps.settings.region, gateway_url=deps.settings.gateway_url, version=__version__)


class HealthController(Controller):
    """For service managers and load balancers; no token."""

    tags = ["health"]

    @get("/healthz", operation_id="get_health", opt=route(PUBLIC, answers={200: Health}))
    async def get_health(self) -> Health:
        """The process answers."""
        return Health()

    @get("/readyz", operation_id="get_readiness", opt=route(PUBLIC, answers={200: Health, 503: None}))
    async def get_readiness(self) -> Health:
        """The database answers too."""
        await database.check()
        return Health()
