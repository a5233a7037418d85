"""Whether the kernel killed something for want of memory: evidence, where exit status 137 alone is none."""

from pathlib import Path

_COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"), Path("/proc/vmstat"))
_SIGKILL = 9


def kills(counters: tuple[Path, ...] = _COUNTERS) -> int | None:
    """How many processes the kernel has killed so far, in our control group where it counts that, else on the machine; None: unknown."""
    for path in counters:
        if path.with_name("release_agent").exists():
            continue  # the root of all groups counts what is in none of them; the machine's own counter has all
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            name, _, value = line.partition(" ")
            if name == "oom_kill" and value.strip().isdigit():
                return int(value)
    return None


def is_evidence(before: int | None, now: int | None, signal: int, code: int | None, log_tail: tuple[str, ...]) -> bool:
    """True when an engine that ended so was killed for want of memory.

    The counter must have grown since it was launched, and either it was killed itself, or its last words say that its child was.
    """
    if before is None or now is None or now <= before:
        return False
    killed = signal == _SIGKILL or code == 128 + _SIGKILL
    return killed or any("died unexpectedly" in line or "EngineDeadError" in line for line in log_tail)
