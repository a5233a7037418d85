"""WHERE MACHINES ARE: one protocol, behind which machines are found, reserved on and spoken to.

base.py       the protocol
local.py      this machine, through its host worker
fake.py       pretended machines; ships, for demonstrations and tests
pretended.py  one pretended host: what runs on it and how it goes wrong
"""
