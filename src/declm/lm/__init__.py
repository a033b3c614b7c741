"""Language models: `LM`, and the layers around a transport.

    cached(retried(metered(limited(transport))))

`base` holds what layers share, `streams` what transports do. `gateway` (providers) and `local` (llama.cpp in
this process) are the transports; a provider is reached by one of three `lanes`: our own `wire` or litellm's
`codecs` over `connections`, or litellm's `library`; its `table` of models serves all. `cached`, `retried`,
`metered` and `limited` are layers around one LM, `routed` and `cascaded` around `several`; `model` puts them
together. Below `cached` lie `keys`, `flights` (equal calls are sent once) and `replies`, which are kept by
`store` (SQLite, with `leases` between processes) or `redis_store`; below `limited` lie the `gates` of accounts.
`batched` is a transport whose requests are gathered in `batches`, the jobs of providers' `batch_apis`.
`recorded` puts calls on `tapes` and answers from them; `observed` tells callbacks. `embedder` turns texts into
`vectors`, by transports of its own (`embeddings`) inside the same layers.
"""

from declm.lm.base import Layer, Send, Sleep, Steps, Wait
from declm.lm.cached import Cached
from declm.lm.cascaded import Cascaded
from declm.lm.embedder import Embedder
from declm.lm.gates import Limits
from declm.lm.library import register_local
from declm.lm.limited import Limited
from declm.lm.metered import Metered
from declm.lm.model import LM, in_force, resolve
from declm.lm.pull import pull
from declm.lm.retried import Retried, RetryPolicy
from declm.lm.routed import Routed

__all__ = [
    "LM",
    "Cached",
    "Cascaded",
    "Embedder",
    "Layer",
    "Limited",
    "Limits",
    "Metered",
    "Retried",
    "RetryPolicy",
    "Routed",
    "Send",
    "Sleep",
    "Steps",
    "Wait",
    "in_force",
    "pull",
    "register_local",
    "resolve",
]
