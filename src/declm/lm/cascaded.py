"""Cascades: the cheap LM first, a better one for what it can't do."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import TypeAlias

from declm import protocols
from declm.errors import LMError
from declm.lm.base import Send, Steps, received
from declm.lm.several import Several, answered, failed, note
from declm.messages import Request, Response
from declm.usage import Usage

Accept: TypeAlias = Callable[[Request, Response], bool]


class Cascaded(Several):
    """Asks LMs from the cheapest to the best until a reply is good enough; satisfies `declm.protocols.LM`.

    A reply that a predictor can't accept (it does not parse, or a constraint of the signature fails) is
    asked again of the next LM, as is one that was cut off, one that `accept` refuses, and a call that fails.
    The last LM's word is final. With `accept`, streamed replies of the LMs before it come in one piece.

    Args:
        lms: the cheapest first.
        accept: whether a reply will do, by the request and the reply; None leaves it to the predictor.

    Raises:
        UsageError: there is no LM.

    Example:
        >>> lm = Cascaded(["local/smollm2", "openai/gpt-5-mini"], accept=lambda request, reply: len(reply.text) > 20)
        >>> lm.model
        'cascaded(local/smollm2, openai/gpt-5-mini)'
    """

    def __init__(self, lms: Sequence[protocols.LM | str], *, accept: Accept | None = None) -> None:
        super().__init__(lms)
        self._accept = accept
        self._judge = "" if accept is None else secrets.token_hex(8)

    @property
    def identity(self) -> str:
        """That of all, in order; with `accept`, unlike any other's: a function can't be compared."""
        return f"{super().identity} {self._judge}".rstrip()

    def steps(self, request: Request) -> Steps:
        """Ask from the LM whose turn it is up to the last.

        Raises:
            LMError: of the kind of the first failure; names all.
        """
        spent = Usage()
        failures: dict[str, LMError] = {}
        *cheaper, last = self._lms[min(request.asked, len(self._lms) - 1) :]
        for lm in cheaper:
            send = Send(request, to=lm, quiet=self._accept is not None)
            try:
                response = received((yield send))
            except LMError as error:
                if send.shown:
                    raise
                note(failures, lm, error)
                spent += Usage(calls=error.calls)
                continue
            if send.shown or self._is_good(request, response):
                return answered(response, lm, spent)
            spent += response.usage
        try:
            return answered(received((yield Send(request, to=last))), last, spent)
        except LMError as error:
            note(failures, last, error)
            raise failed(failures) from error

    def _is_good(self, request: Request, response: Response) -> bool:
        if response.finish != "stop":
            return False
        return self._accept is None or self._accept(request, response)
