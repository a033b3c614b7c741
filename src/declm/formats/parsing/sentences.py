"""What an English sentence asserts of a word in it: negations, questions, conditions, and where the answer stands.

Words are looked at clause by clause; a clause ends at a punctuation mark or at a word such as "but".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

DECORATION = " \t\r\n\"'`*_“”\u2018\u2019«»「」()[]{}<>.,;:!#\u3002\uff0c\u3001"
"""What may stand around a value without meaning anything."""

_WORD = re.compile(r"(?<![\w.])[-+\u2212]?\d+(?:[.,:/]\d+)*(?!\w)|[^\W_]+(?:['\u2019][^\W_]+)*")
_CLAUSE_END = re.compile(r"[,;:.!?\n()\u2013\u2014]|\s-\s")
_SENTENCE_END = re.compile(r"[!?;\n\u3002\uff1f]|\.(?!\w)")
_TURNS = frozenset("but so because since therefore instead though although however yet".split())
"""Words that begin another clause."""

_NEGATORS = frozenset(
    "not never neither nor without cannot hardly barely scarcely unlikely less non nothing nobody isnt arent wasnt "
    "doesnt dont didnt cant wont except if whether unless".split()
)
"""Words behind which, up to the end of the clause, nothing is asserted; contractions with "n't" are more."""

_NEGATING_PAIRS = frozenset({
    ("no", "longer"), ("no", "more"), ("far", "from"), ("rather", "than"), ("instead", "of"), ("other", "than"),
    ("opposed", "to"), ("anything", "but"), ("opposite", "of"), ("lack", "of"), ("absence", "of"),
})  # fmt: skip
_NO_NEGATION = frozenset({
    ("not", "only"), ("not", "just"), ("not", "merely"), ("not", "simply"), ("without", "doubt"), ("without", "a"),
    ("without", "any"), ("without", "question"),
})  # fmt: skip
_AUXILIARIES = frozenset("is are was were does do did can could would should will seems".split())
_REFUSALS = frozenset("not never wrong incorrect false unlikely impossible no out ruled".split())
_RETRACTION = re.compile(r"\b(?:wait|actually|correction|i mean|on second thought|scratch that|sorry)\b", re.IGNORECASE)
_COORDINATES = frozenset({"or", "and", "nor", "even", "the", "a"})
_PRONOUNS = frozenset({"it", "this", "that", "they", "he", "she", "we", "you", "there", "the", "i", "these", "those"})
_BACK = 12
"""Words before another in which a denial of it is looked for."""

_BEHIND_A = frozenset("is or and because since as".split())
"""Words that don't follow an article."""

_ANSWER = re.compile(r"\banswer\b[\"'*_`)]*\s*(?:is\b|[:=])|####|\\boxed\s*\{", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Word:
    """A word or number of a text; `key` is how it compares."""

    start: int
    end: int
    key: str


def plain(text: str) -> str:
    """The text without accents, invisible characters and other widths of letters."""
    if text.isascii():
        return text
    whole = unicodedata.normalize("NFKD", text)
    return "".join(char for char in whole if unicodedata.category(char) not in ("Mn", "Cf"))


def words(text: str) -> list[Word]:
    """The words and numbers of a plain text, in order."""
    return [Word(hit.start(), hit.end(), _key(hit.group())) for hit in _WORD.finditer(text)]


def _key(word: str) -> str:
    return word.casefold().replace("\u2019", "'").replace("\u2212", "-").lstrip("+")


def is_denied(text: str, found: Sequence[Word], first: int, last: int) -> bool:
    """Whether the clause denies the words from `first` to `last`, or makes them a condition."""
    return _is_denied_before(text, found, first) or _is_denied_behind(text, found, last)


def _is_denied_behind(text: str, found: Sequence[Word], at: int) -> bool:
    """Whether the words behind say that it is wrong: "positive is not the right label"."""
    one = _next_word(text, found, at)
    if one is None or one.endswith("n't"):
        return one is not None
    other = _next_word(text, found, at + 1)
    if other == "be":
        other = _next_word(text, found, at + 2)
    return one in _AUXILIARIES and other in _REFUSALS


def _is_denied_before(text: str, found: Sequence[Word], at: int) -> bool:
    later, end = "", found[at].start
    for back in range(at - 1, max(at - _BACK, 0) - 1, -1):
        word = found[back]
        if _CLAUSE_END.search(text, word.end, end):
            return False
        key = word.key
        negates = key in _NEGATORS or key.endswith("n't") or (key, later) in _NEGATING_PAIRS
        if negates and (key, later) not in _NO_NEGATION:
            return True
        if key == "no" and back == at - 1:
            return True
        if key in _TURNS:
            return False
        later, end = key, word.start
    return False


def are_coordinated(text: str, found: Sequence[Word], first: int, second: int) -> bool:
    """Whether only "or", commas and the like stand between two words, so that what denies one denies both."""
    between = text[found[first].end : found[second].start]
    return not re.search(r"[;:.!?\n()]", between) and all(
        word.key in _COORDINATES for word in found[first + 1 : second]
    )


def is_asked(text: str, end: int) -> bool:
    """Whether the sentence that goes on at `end` is a question."""
    stop = _SENTENCE_END.search(text, end)
    return stop is not None and stop.group() in "?\uff1f"


def is_article(text: str, found: Sequence[Word], at: int) -> bool:
    """Whether a one-letter word is "a" or "I" in their usual senses, no label."""
    word = found[at]
    following = _next_word(text, found, at)
    if word.key == "i":
        return following is not None
    if word.key != "a" or following is None or following in _BEHIND_A:
        return False
    return text[word.start] == "a" or _begins_sentence(text, word.start)


def is_determiner(text: str, found: Sequence[Word], at: int) -> bool:
    """Whether "no" belongs to a noun ("no idea") and is no answer."""
    following = _next_word(text, found, at)
    if found[at].key != "no" or following is None:
        return False
    return not (_begins_sentence(text, found[at].start) and following in _PRONOUNS)


def _next_word(text: str, found: Sequence[Word], at: int) -> str | None:
    """The word that follows with nothing but space between, if any."""
    if at + 1 < len(found) and text[found[at].end : found[at + 1].start].isspace():
        return found[at + 1].key
    return None


def _begins_sentence(text: str, start: int) -> bool:
    before = text[:start].rstrip(" \t\"'`*_(")
    return not before or before[-1] in ".!?:;,\n"


def conclusion(text: str) -> str | None:
    """The rest of the line behind the last "answer:" or the like; None if there is none."""
    last = None
    for last in _ANSWER.finditer(text):  # noqa: B007  # the last one is wanted
        pass
    if last is None:
        return None
    return text[last.end() :].strip().partition("\n")[0]


def is_retracted(text: str) -> bool:
    """Whether an answer is taken back in the course of the text."""
    return _RETRACTION.search(text) is not None


def lead(text: str, first: int) -> bool:
    """Whether what stands before `first` is nothing but decoration, or a name with a colon (`Label:`)."""
    before = text[:first].strip(DECORATION + "-\u2013>")
    return "\n" not in text[:first].strip() and (
        not before or (len(before.split()) <= 4 and re.search(r"[:=][\s\"'`*_(\[]*\Z", text[:first]) is not None)
    )


def sets_apart(text: str, end: int) -> bool:
    """Whether what ends at `end` is an answer with an explanation behind it, no list of candidates."""
    return bool(re.match(r"[\"'`*_)\]]*\s*(?:[.:!\n\u2013\u2014]|-\s)", text[end:]))
