"""An answer is whole or it is not: what an engine sends after an error does not make it one."""

import json

import pytest

from tests.harness.judging import NotWhole, Tally, judge_plain, judge_stream


def data(**event: object) -> str:
    return f"data: {json.dumps(event)}"


WORD = data(model="m", system_fingerprint="one", choices=[{"delta": {"content": "a"}, "finish_reason": None}])
END = data(model="m", system_fingerprint="one", choices=[{"delta": {}, "finish_reason": "stop"}])
USAGE = data(model="m", system_fingerprint="one", choices=[], usage={"total_tokens": 3})
DONE = "data: [DONE]"


@pytest.mark.parametrize("lines", [[WORD, END], [WORD, END, USAGE, DONE], [": a comment", WORD, "", END, DONE]])
def test_a_whole_stream(lines: list[str]) -> None:
    assert judge_stream(lines) == "one"


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [WORD],
        [WORD, DONE],
        [WORD, data(error={"message": "engine died", "code": 500}), DONE],
        [WORD, END, data(error={"message": "engine died", "code": 500}), DONE],
        [WORD, data(object="error", message="engine died"), DONE],
        [WORD, "event: error", "data: {}", END],
        [WORD, END, WORD, END],
        [WORD, "data: {half of an event"],
    ],
)
def test_a_stream_that_is_none(lines: list[str]) -> None:
    with pytest.raises(NotWhole):
        judge_stream(lines)


def test_a_whole_plain_answer() -> None:
    assert judge_plain(b'{"model": "m", "choices": [{"finish_reason": "length"}]}') == "m"


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"[]", b'{"error": {"code": 500}}', b'{"choices": [{"finish_reason": null}]}', b'{"choices": [{']
)
def test_a_plain_answer_that_is_none(body: bytes) -> None:
    with pytest.raises(NotWhole):
        judge_plain(body)


def test_every_request_has_one_outcome() -> None:
    tally = Tally()
    for _ in range(3):
        tally.note_sent()
    tally.note_answer("plain", "one", 0.5)
    tally.note_loss("stream", 503, NotWhole("no replica"))
    assert (tally.sent, tally.answered, len(tally.lost), tally.under_way) == (3, 1, 1, 1)
    assert tally.lost[0].status == 503
    assert "no replica" in tally.lost[0].words
