"""The last event of a stream whose engine has died, said by the host in its place (docs/decisions/0024).

deposit.py   inside the engine, with the standard library alone: for each stream under way a box with its connection and its last bytes
keeper.py    in the worker: has a share in every box, and opens it once the process that filled it is gone
counted.py   in the worker: streams that ended so, in the windows of their track

A box is a pair of sockets. In its queue lie the connection, as a duplicate, and the bytes to say on it; engine and worker hold the same
end. What lies there nobody has: the engine takes it out again when the stream is over, whether the worker is well or not, and if the
engine dies the worker finds exactly what it had not taken out. A worker that hangs or dies keeps nothing open that an engine closes.

On the line (SOCK_SEQPACKET, in the directory of sockets) the engine says, and the worker never answers:

    the path of the engine's socket    with a pidfd of its process
    +NUMBER                            with the box of a stream; several at once after a time without a line
    -NUMBER                            that stream is over; its box is empty
"""
