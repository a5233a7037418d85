"""What the reconciler works with, and the names of what it looks after."""

from collections.abc import Callable
from datetime import datetime

from fleetform.credentials import SigningKey
from fleetform.drivers.base import Driver
from fleetform.settings import Settings

ENDPOINT = "endpoint"
VERSION = "version"
SHARD = "default"


class Deps:
    """settings, driver and key are the server's; url: the database. The rest is explained at `Reconciler`."""

    def __init__(
        self,
        settings: Settings,
        driver: Driver,
        key: SigningKey,
        url: str,
        now: Callable[[], datetime],
        new_id: Callable[[], str],
        host_grace_s: float,
    ) -> None:
        self.settings = settings
        self.driver = driver
        self.key = key
        self.url = url
        self.now = now
        self.new_id = new_id
        self.host_grace_s = host_grace_s
