"""SNAPSHOTS: engines that lie on disk until the same is asked for again.

criu.py       the program that puts processes on disk and takes them from there, and whether this machine can
image.py      the folder of one engine: what is in it, whether it is whole
shared.py     memory that processes share by names, which no image holds
freezing.py   an engine is put on disk
thawing.py    an engine is taken from there
snapshots.py  which lie there, which are taken, which are thrown away

A snapshot is an engine at rest and no template: it is taken from disk once, and then it is an engine again.
"""
