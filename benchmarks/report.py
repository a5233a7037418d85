"""The last line of every benchmark, and its exit status."""

import sys
from typing import NoReturn


def report(figure: str, ratio: float, bound: float, ours: str, reference: str, *, at_most: bool) -> NoReturn:
    """Print `F7 ok 4.20 (<= 25) ours …, reference …` and exit 0, or `F7 short …` and exit 1. ratio and bound share a unit."""
    held = ratio <= bound if at_most else ratio >= bound
    sign = "<=" if at_most else ">="
    print(f"{figure} {'ok' if held else 'short'} {ratio:.2f} ({sign} {bound:g}) ours {ours}, {reference}")
    sys.exit(0 if held else 1)
