"""Language-model programs that are declared, typed and compiled.

Declare what a step takes and returns as a `Signature`, compose steps in plain Python, and let
`optimize` find the instructions and demonstrations that make a given model do it well.

Names are loaded when they are first used (PEP 562), so that `import declm` costs a few milliseconds.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from declm.version import __version__

if TYPE_CHECKING:
    from declm import data, metrics, optimizers
    from declm.demo import Demo
    from declm.errors import (
        AuthError,
        BadRequest,
        BudgetExceeded,
        ContentFiltered,
        ContextTooLong,
        DataError,
        DeadlineExceeded,
        DeclmError,
        InputError,
        Interrupted,
        LMError,
        MetricError,
        MissingExtra,
        NotRecorded,
        OutputNotSet,
        ParseError,
        ProgramError,
        QuotaExceeded,
        RateLimited,
        ReplyTooLarge,
        ServerError,
        SignatureMismatch,
        StateError,
        TemplateError,
        TimedOut,
        ToolError,
        TooManyErrors,
        TransportError,
        TruncatedOutput,
        UnknownModel,
        UsageError,
    )
    from declm.evaluation import Report, aevaluate, evaluate
    from declm.fields import Input, Note, Output
    from declm.formats.parsing import Parsed, parse, parse_partial
    from declm.history import CallHistory
    from declm.lm import LM, Embedder
    from declm.messages import Message, Request, Response
    from declm.module import Module, Prediction
    from declm.optimizers import Optimized
    from declm.optimizers.optimize import aoptimize, optimize
    from declm.predictors import ChainOfThought, Predict
    from declm.predictors.functions import fill, predict
    from declm.score import Score
    from declm.settings import carry, configure, context
    from declm.shorthand import define
    from declm.signature import Signature
    from declm.specs import spec
    from declm.state import PredictorState, ProgramState
    from declm.usage import Budget, Usage

__all__ = [
    "LM",
    "AuthError",
    "BadRequest",
    "Budget",
    "BudgetExceeded",
    "CallHistory",
    "ChainOfThought",
    "ContentFiltered",
    "ContextTooLong",
    "DataError",
    "DeadlineExceeded",
    "DeclmError",
    "Demo",
    "Embedder",
    "Input",
    "InputError",
    "Interrupted",
    "LMError",
    "Message",
    "MetricError",
    "MissingExtra",
    "Module",
    "NotRecorded",
    "Note",
    "Optimized",
    "Output",
    "OutputNotSet",
    "ParseError",
    "Parsed",
    "Predict",
    "Prediction",
    "PredictorState",
    "ProgramError",
    "ProgramState",
    "QuotaExceeded",
    "RateLimited",
    "ReplyTooLarge",
    "Report",
    "Request",
    "Response",
    "Score",
    "ServerError",
    "Signature",
    "SignatureMismatch",
    "StateError",
    "TemplateError",
    "TimedOut",
    "TooManyErrors",
    "ToolError",
    "TransportError",
    "TruncatedOutput",
    "UnknownModel",
    "Usage",
    "UsageError",
    "__version__",
    "aevaluate",
    "aoptimize",
    "carry",
    "configure",
    "context",
    "data",
    "define",
    "evaluate",
    "fill",
    "metrics",
    "optimize",
    "optimizers",
    "parse",
    "parse_partial",
    "predict",
    "spec",
]

_SUBMODULES = frozenset({"data", "metrics", "optimizers"})

# Home of every other name; the errors, which all live in one module, are what is left over.
_HOMES = {
    "Budget": "usage",
    "CallHistory": "history",
    "ChainOfThought": "predictors",
    "Demo": "demo",
    "Embedder": "lm",
    "Input": "fields",
    "LM": "lm",
    "Message": "messages",
    "Module": "module",
    "Note": "fields",
    "Optimized": "optimizers",
    "Output": "fields",
    "Parsed": "formats.parsing",
    "Predict": "predictors",
    "Prediction": "module",
    "PredictorState": "state",
    "ProgramState": "state",
    "Report": "evaluation",
    "Request": "messages",
    "Response": "messages",
    "Score": "score",
    "Signature": "signature",
    "Usage": "usage",
    "aevaluate": "evaluation",
    "aoptimize": "optimizers",
    "carry": "settings",
    "configure": "settings",
    "context": "settings",
    "define": "shorthand",
    "evaluate": "evaluation",
    "fill": "predictors",
    "optimize": "optimizers",
    "parse": "formats.parsing",
    "parse_partial": "formats.parsing",
    "predict": "predictors",
    "spec": "specs",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'declm' has no attribute {name!r}")
    if name in _SUBMODULES:
        return import_module(f"declm.{name}")
    # The one computed attribute access of the package: what PEP 562 is for.
    found = getattr(import_module(f"declm.{_HOMES.get(name, 'errors')}"), name)
    globals()[name] = found  # the next access is a plain look-up
    return found


def __dir__() -> list[str]:
    return __all__.copy()
