"""Cache keys: equal for equal requests, whoever asks and whatever was asked before."""

from __future__ import annotations

from declm.lm.keys import Keys
from declm.messages import Message, Request

SYSTEM, DEMO, REPLY = Message("system", "be brief"), Message("user", "2 + 2"), Message("assistant", "4")


def ask(*messages: Message, text: str = "3 + 3", **rest: object) -> Request:
    return Request((*messages, Message("user", text)), **rest)  # type: ignore[arg-type]


def test_where_the_known_prefix_ends_does_not_matter() -> None:
    request = ask(SYSTEM, DEMO, REPLY)
    expected = Keys().of("lm", request)
    for first in (ask(SYSTEM), ask(SYSTEM, DEMO), ask(SYSTEM, DEMO, REPLY, DEMO), ask(DEMO)):
        keys = Keys()
        keys.of("lm", first)
        assert keys.of("lm", request) == keys.of("lm", request) == expected


def test_equal_messages_that_are_other_objects_have_the_same_key() -> None:
    keys = Keys()
    copied = ask(Message("system", "be brief"), Message("user", "2 + 2"), REPLY, schema={"type": "object"})
    assert keys.of("lm", ask(SYSTEM, DEMO, REPLY, schema={"type": "object"})) == keys.of("lm", copied)


def test_everything_that_shapes_a_reply_is_in_the_key() -> None:
    keys = Keys()
    requests = [
        ask(SYSTEM, DEMO),
        ask(SYSTEM),
        ask(DEMO, SYSTEM),
        ask(SYSTEM, DEMO, text="3 + 4"),
        ask(SYSTEM, Message("assistant", "2 + 2")),
        ask(SYSTEM, Message("user", "2 + 2user 5 3 + 3")),
        ask(SYSTEM, DEMO, schema={"type": "object"}),
        ask(SYSTEM, DEMO, schema={"type": "string"}),
        ask(SYSTEM, DEMO, options={"top_p": 0.5}),
        ask(SYSTEM, DEMO, sample=1),
        ask(SYSTEM, DEMO, logprobs=1),
        Request(()),
    ]
    found = [keys.of(lm, request) for lm in ("one", "two") for request in requests]
    assert None not in found
    assert len(set(found)) == len(found)


def test_limits_of_time_are_not_in_the_key() -> None:
    keys = Keys()
    assert keys.of("lm", ask(SYSTEM, options={"timeout": 1, "deadline": 2})) == keys.of("lm", ask(SYSTEM))


def test_more_predictors_than_prefixes_are_remembered() -> None:
    keys = Keys()
    prefixes = [Message("system", str(index)) for index in range(200)]
    first = [keys.of("lm", ask(prefix)) for prefix in prefixes]
    assert [keys.of("lm", ask(prefix)) for prefix in prefixes] == first
    assert len(set(first)) == 200
