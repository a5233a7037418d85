"""The one place where secrets are taken out of text, before it reaches a log, a row or a person. Standard library only."""

import re

LINE_MAX = 2000

_NAMES = "(?:password|passwd|secret|token|api[_-]?key|access[_-]?key)"
# What may begin at every place of a line has a longest length: without one, a line of a few hundred KiB would be looked at for minutes.
_SECRETS = (
    (re.compile(r"cd-[A-Za-z0-9_-]{8,}(\.[A-Za-z0-9_-]+){0,2}"), "cd-[redacted]"),
    (re.compile(r"\b(hf_|sk-|ghp_|github_pat_|xox[bp]-)[A-Za-z0-9_-]{8,}"), r"\1[redacted]"),
    (re.compile(r"\b(AKIA|ASIA)[A-Z0-9]{12,}"), r"\1[redacted]"),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]*)?"), "[redacted token]"),
    (re.compile(r"(?i)\b(authorization|proxy-authorization)(['\"]?\s*[:=]\s*)(bearer|basic)?\s*\S+"), r"\1\2[redacted]"),
    (re.compile(rf"(?i)({_NAMES}['\"]?\s*[:=]\s*['\"]?)(?!\d+\b)[^\s'\",;]{{4,}}"), r"\1[redacted]"),
    (re.compile(r"(?i)([a-z][a-z0-9+.-]{0,30}://)[^\s/:@]+:[^\s/@]+@"), r"\1[redacted]@"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*"), "[redacted key]"),
)
LEAK_FORMS = (
    r"(^|[^A-Za-z0-9_-])((hf_|ghp_|github_pat_|xox[bp]-)[A-Za-z0-9_-]{8,}|(AKIA|ASIA)[A-Z0-9]{12,})"
    r"|eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+|-----BEGIN [A-Z ]*PRIVATE KEY-----"
)
"""What is a secret by its form alone, whatever word stands before it; as Python and as PostgreSQL understand it."""

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|[\x00-\x08\x0b-\x1f\x7f]")


def redact(line: str) -> str:
    """line without what looks like a secret, without control characters, and at most LINE_MAX characters long."""
    clean = _CONTROL.sub("", line)
    for pattern, replacement in _SECRETS:
        clean = pattern.sub(replacement, clean)
    return clean if len(clean) <= LINE_MAX else clean[:LINE_MAX] + "…"
