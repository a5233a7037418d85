"""The `command` adapter: an engine that the region's administrators declared as an argument list."""

from fleetform.domain.machine import EngineSpec
from fleetform.domain.replica import Loopback, Unix
from fleetform.host.engines.base import Launch


class CommandEngine:
    """An engine by its EngineSpec. Its time limit is the proxy's; its memory and threads are its own affair."""

    forks = False
    sleeps = False

    def __init__(self, spec: EngineSpec) -> None:
        self.spec = spec

    @property
    def health_path(self) -> str:
        return self.spec.health_path or "/health"

    @property
    def speaks_openai(self) -> bool:
        return self.spec.routes != "raw"

    @property
    def on_port(self) -> bool:
        return self.spec.listen == "port"

    def argv(self, launch: Launch) -> tuple[str, ...]:
        """The template with its words filled in."""
        words = {
            "socket": launch.address.path if isinstance(launch.address, Unix) else "",
            "port": str(launch.address.port) if isinstance(launch.address, Loopback) else "",
            "model_dir": str(launch.model_dir),
            "served_name": launch.served_name,
            "instance": launch.nonce,
            "context_length": str(launch.track.manifest.context_length),
        }
        return tuple(word.format_map(words) for word in self.spec.argv)

    def env(self, launch: Launch) -> dict[str, str]:
        return {}
