"""How a refusal of an artifact is made: one place for the word that the Verified condition and a failed replica carry."""

from typing import Any

from fleetform.domain.conditions import Reason
from fleetform.errors import ArtifactRefused


def refusal(reason: Reason, message: str, **details: Any) -> ArtifactRefused:
    """The error to raise; details["condition_reason"] is reason, a reason of the Verified condition."""
    return ArtifactRefused(message, condition_reason=reason.value, **details)
