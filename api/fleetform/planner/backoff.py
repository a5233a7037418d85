"""How long to wait before trying again. Where many wait for the same thing each waits up to a fifth less, so that not all try at once.

failures in a row    1  2  3  4  5   6   7   8    9    10 and more
delay in seconds     1  2  4  8  16  32  64  128  256  300
"""

import hashlib

FIRST_S = 1
LONGEST_S = 300
JITTER = 0.2


def delay_s(failures: int) -> int:
    """Seconds to wait after that many failures in a row; 0 after none."""
    if failures <= 0:
        return 0
    return min(LONGEST_S, FIRST_S << min(failures - 1, 30))


def spread_s(failures: int, who: str) -> float:
    """`delay_s`, or up to a fifth less: always the same for the same failures of the same one."""
    share = int.from_bytes(hashlib.sha256(f"{who}:{failures}".encode()).digest()[:4]) / 2**32
    return delay_s(failures) * (1 - JITTER * share)
