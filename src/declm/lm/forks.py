"""What a forked child must not touch: engines and connections whose threads stayed in the parent."""

from __future__ import annotations


def keep_alive(thing: object) -> None:
    """Keep an object for the rest of the process, whatever drops it.

    The destructor of an engine waits for threads that a forked child does not have, and closing a
    SQLite connection there can break the parent's locks. So the child never destroys them.
    """
    import ctypes

    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


def skip_destructors() -> None:
    """Let a forked child end without the destructors of C++ libraries, after Python's own clean-up.

    llama.cpp has one that joins a thread of the parent, and so never returns. The GNU C library runs
    what is registered last first: `_exit`, with the exit status. Children of `multiprocessing` leave
    that way in any case; on other systems a child that exits normally hangs.
    """
    import ctypes

    library = ctypes.CDLL(None)
    if hasattr(library, "on_exit"):
        library.on_exit(ctypes.cast(library._exit, ctypes.c_void_p), None)
