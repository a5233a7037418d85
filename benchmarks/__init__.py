"""One module a figure: `make bench F=F7` runs f7.py. Each prints a ratio against a reference of the same run.

Wall time alone says nothing on a shared machine, so no figure is a bare time, and no test depends on one.
"""
