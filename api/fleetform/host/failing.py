"""That a replica fails, and why."""

from fleetform.domain.replica import FailureReason


class Failed(Exception):
    """The replica cannot serve, or serves no longer."""

    def __init__(self, reason: FailureReason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
