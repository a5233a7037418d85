"""A process that has imported an engine's software once and forks every engine from it, which saves nearly all of a start.

__main__.py     the zygote: imports, listens, forks; a child of the supervisor like any other
message.py      what is asked of it and what it answers, on a Unix socket
child.py        the first moment of a forked engine: hold until its record is on disk, then become it
stamp.py        whether the software on disk is still what was imported
client.py       the worker's side
vllm.py         what vLLM needs before and after a fork
devices.py      what it asks of the devices before one, answered without their driver
trust.py        whether forks are known to work on devices

The zygote holds no secret and no state: whoever kills it costs the next start its speed, nothing else. Engines are sessions of their own.
"""
