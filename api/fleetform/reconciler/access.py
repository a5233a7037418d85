"""Who may come in at the gateways: our keys, those of the regions we know, and the credentials that were revoked."""

from datetime import datetime

import msgspec

from fleetform.credentials import SigningKey
from fleetform.gateway.snapshot import Access, TrustedRegion
from fleetform.settings import Settings
from fleetform.store import fleet


async def current(settings: Settings, key: SigningKey, now: datetime) -> Access:
    """The rules as they are now. A revoked credential is left out once it would have expired anyway."""
    peers = tuple(
        TrustedRegion(region=peer.region, jwks=msgspec.json.encode(peer.jwks).decode(), host=peer.host) for peer in settings.peer_regions
    )
    home = TrustedRegion(region=settings.region, jwks=key.jwks(), host=settings.gateway_url)
    return Access(home=home, peers=peers, revoked=await fleet.revoked(now))
