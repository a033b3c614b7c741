"""Language models: `LM`, and the layers around a transport.

    cached(retried(metered(transport)))

`base` holds what layers share, `streams` what transports do. `gateway` (providers) and `local` (llama.cpp in
this process) are the transports; a provider is reached by one of two `lanes`, our own `wire` over
`connections`, or litellm's `library`. `cached`, `retried` and `metered` are layers; `model` puts them together.
Below `cached` lie `keys`, `flights` (equal calls are sent once) and `replies`, which are kept by `store`
(SQLite, with `leases` between processes) or `redis_store`.
"""

from declm.lm.library import register_local
from declm.lm.model import LM, resolve
from declm.lm.pull import pull

__all__ = ["LM", "pull", "register_local", "resolve"]
