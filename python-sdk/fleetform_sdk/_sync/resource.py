"""Generated from _async by `make generate`; do not edit."""

from fleetform_sdk import _environment
from fleetform_sdk._sync.transport import Transport


class Resource:
    """One kind of resource. default_project: of the client; a method's own `project` goes before it."""

    def __init__(self, transport: Transport, default_project: str | None) -> None:
        self._transport = transport
        self._default_project = default_project

    def _project(self, project: str | None) -> str:
        """The project to speak of; ConfigurationError when none was named."""
        return _environment.required(project or self._default_project, _environment.PROJECT, "project", {})
