"""`ChainOfThought`: the LM writes its reasoning before the outputs.

Source: Wei et al., Chain-of-Thought Prompting (arXiv 2201.11903).
"""

from __future__ import annotations

from declm.predictors.predict import P, Predict, S

_NAMES = ("reasoning", "rationale", "thoughts", "step_by_step")


class ChainOfThought(Predict[P, S]):
    """A `Predict` that asks for reasoning first; results are the signature's own class.

    The reasoning is on `run(...).reasoning`, in the trace and in demos. Its name in the prompt
    is `reasoning`, or another one where the signature has a field of that name. Arguments are
    those of `Predict`.

    Example:
        >>> from declm.testing import ScriptedLM
        >>> lm = ScriptedLM(['{"reasoning": "6 * 7 is 42", "answer": 42}'])
        >>> run = ChainOfThought("question -> answer: int", lm=lm).run(question="six times seven")
        >>> run.value.answer, run.reasoning
        (42, '6 * 7 is 42')
    """

    @property
    def reasoning_key(self) -> str | None:
        """`reasoning`, or another name where the signature has a field of that name."""
        taken = self._spec.inputs.keys() | self._spec.outputs.keys()
        free = (name for name in _NAMES if name not in taken)
        return next(free, "_".join(_NAMES))
