"""The synchronous client of the Python SDK, from the asynchronous one: the same source without `async` and `await`."""

import re
from collections.abc import Iterator
from pathlib import Path

HEADER = '"""Generated from _async by `make generate`; do not edit."""\n\n'

WORDS: tuple[tuple[str, str], ...] = (
    (r"\bawait ", ""),
    (r"\basync (def|for|with)\b", r"\1"),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\bAwaitable, ", ""),
    (r"\banyio\b", "time"),
    (r"\b_async\b", "_sync"),
    (r"\bAsync(?=[A-Z])", ""),
    (r"\baclose\b", "close"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
)


def synchronous(source: Path) -> Iterator[tuple[str, str]]:
    """(file name, text) of each module of the synchronous package; source is the folder `_async`."""
    for path in sorted(source.glob("*.py")):
        text = path.read_text()
        yield path.name, HEADER if path.name == "__init__.py" else HEADER + _without_await(text)


def _without_await(text: str) -> str:
    body = re.sub(r'\A""".*?"""\n+', "", text, flags=re.DOTALL)
    for pattern, replacement in WORDS:
        body = re.sub(pattern, replacement, body)
    return body
