"""What a forked child must not touch: engines and connections whose threads stayed in the parent."""

from __future__ import annotations


def keep_alive(thing: object) -> None:
    """Keep an object for the rest of the process, whatever drops it.

    The destructor of an engine waits for threads that a forked child does not have, and closing a
    SQLite connection there can break the parent's locks. So the child never destroys them.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))
