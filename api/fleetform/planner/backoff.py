"""How long to wait before trying again.

failures in a row    1  2  3  4  5   6   7   8    9    10 and more
delay in seconds     1  2  4  8  16  32  64  128  256  300
"""

FIRST_S = 1
LONGEST_S = 300


def delay_s(failures: int) -> int:
    """Seconds to wait after that many failures in a row; 0 after none."""
    if failures <= 0:
        return 0
    return min(LONGEST_S, FIRST_S << min(failures - 1, 30))
