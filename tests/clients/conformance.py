"""What an OpenAI client relies on, as checks that run against any endpoint: the stub behind a real Envoy, or a real model.

Each check takes a Served and raises AssertionError. A client reads more than it needs: a field that is missing here breaks some
program in the field (`choices[].index`, a `usage` chunk that nobody asked for, an error without its envelope).
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from openai import AsyncOpenAI, OpenAI

MESSAGES: list[Any] = [{"role": "user", "content": "Say one word."}]


@dataclass(frozen=True)
class Served:
    """base_url, api_key: as an application has them. model, embedding_model: endpoints of the key's project, named project."""

    base_url: str
    api_key: str
    project: str
    model: str
    embedding_model: str

    def client(self, **options: Any) -> OpenAI:
        usual: dict[str, Any] = {"api_key": self.api_key, "max_retries": 0}
        return OpenAI(base_url=self.base_url, **(usual | options))

    def async_client(self) -> AsyncOpenAI:
        return AsyncOpenAI(base_url=self.base_url, api_key=self.api_key, max_retries=0)


def chat(served: Served) -> None:
    answer = served.client().chat.completions.create(model=served.model, messages=MESSAGES, max_tokens=4)
    assert answer.id
    assert answer.object == "chat.completion"
    assert answer.created > 0
    assert answer.model == served.model
    assert [choice.index for choice in answer.choices] == [0]
    assert answer.choices[0].message.role == "assistant"
    assert isinstance(answer.choices[0].message.content, str)
    assert answer.choices[0].finish_reason in ("stop", "length")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id


def chat_stream(served: Served) -> None:
    chunks = list(served.client().chat.completions.create(model=served.model, messages=MESSAGES, max_tokens=4, stream=True))
    assert len({chunk.id for chunk in chunks}) == 1
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert {chunk.model for chunk in chunks} == {served.model}
    assert all(chunk.choices for chunk in chunks), "a chunk without choices that nobody asked for"
    assert all(choice.index == 0 for chunk in chunks for choice in chunk.choices)
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def chat_stream_usage(served: Served) -> None:
    stream = served.client().chat.completions.create(
        model=served.model, messages=MESSAGES, max_tokens=4, stream=True, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def chat_stream_helper(served: Served) -> None:
    """The helper reads more of each chunk than a plain loop; it raises where an answer is cut, as a model's may be here."""
    with served.client().chat.completions.stream(model=served.model, messages=MESSAGES, max_tokens=4) as stream:
        with contextlib.suppress(openai.LengthFinishReasonError):
            assert {"chunk"} <= {event.type for event in stream}
        assert stream.current_completion_snapshot.choices[0].finish_reason in ("stop", "length")


def streams_end_with_done(served: Served) -> None:
    client = served.client().chat.completions.with_streaming_response
    with client.create(model=served.model, messages=MESSAGES, max_tokens=4, stream=True) as answer:
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "content-encoding" not in answer.headers
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


def a_stream_may_be_left(served: Served) -> None:
    client = served.client()
    with client.chat.completions.create(model=served.model, messages=MESSAGES, max_tokens=64, stream=True) as stream:
        next(iter(stream))
    assert client.chat.completions.create(model=served.model, messages=MESSAGES, max_tokens=2).choices


def completions(served: Served) -> None:
    client = served.client()
    answer = client.completions.create(model=served.model, prompt="Once upon a time", max_tokens=4)
    assert answer.object == "text_completion"
    assert answer.choices[0].text
    assert answer.usage is not None
    chunks = list(client.completions.create(model=served.model, prompt="Once upon a time", max_tokens=4, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)


def responses(served: Served) -> None:
    answer = served.client().responses.create(model=served.model, input="Say one word.", max_output_tokens=16)
    assert answer.object == "response"
    assert answer.status in ("completed", "incomplete")
    assert answer.output_text


def embeddings(served: Served) -> None:
    """The SDK asks for base64 unless told otherwise, and LangChain sends token ids."""
    client = served.client()
    texts = ["a cat", "a much longer sentence about dogs"]
    by_default = client.embeddings.create(model=served.embedding_model, input=texts)
    assert [item.index for item in by_default.data] == [0, 1]
    as_floats = client.embeddings.create(model=served.embedding_model, input=texts, encoding_format="float")
    for ours, theirs in zip(by_default.data, as_floats.data, strict=True):
        assert len(ours.embedding) == len(theirs.embedding) > 0
        assert all(abs(a - b) < 1e-3 for a, b in zip(ours.embedding, theirs.embedding, strict=True))
    assert by_default.usage.total_tokens > 0


def models(served: Served) -> None:
    client = served.client()
    listed = client.models.list()
    assert listed.object == "list"
    found = {model.id: model for model in listed}
    assert {served.model, served.embedding_model} <= set(found)
    one = client.models.retrieve(served.model)
    assert (one.id, one.object, one.owned_by) == (served.model, "model", served.project)
    assert one.created > 0


def unknown_fields_pass(served: Served) -> None:
    extra = {"top_k": 5, "a_field_of_tomorrow": {"deep": True}}
    assert served.client().chat.completions.create(model=served.model, messages=MESSAGES, max_tokens=2, extra_body=extra).choices


def own_project(served: Served) -> None:
    client = served.client(project=served.project)
    assert client.chat.completions.create(model=served.model, messages=MESSAGES, max_tokens=2).choices


def another_project(served: Served) -> None:
    error = _refused(served.client(project="somebody-else"), served.model)
    assert (type(error), error.code) == (openai.AuthenticationError, "wrong_scope")


def unknown_model(served: Served) -> None:
    error = _refused(served.client(), "no-such-endpoint")
    assert (type(error), error.code) == (openai.NotFoundError, "model_not_found")


def bad_key(served: Served) -> None:
    for key in ("cd-forged", "sk-of-somebody-else"):
        error = _refused(served.client(api_key=key), served.model)
        assert (type(error), error.code) == (openai.AuthenticationError, "invalid_api_key")


def _refused(client: OpenAI, model: str) -> openai.APIStatusError:
    with pytest.raises(openai.APIStatusError) as caught:
        client.chat.completions.create(model=model, messages=MESSAGES, max_tokens=2)
    assert isinstance(caught.value.body, dict)
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    assert caught.value.request_id
    return caught.value


def asynchronously(served: Served) -> None:
    async def run() -> None:
        async with served.async_client() as client:
            asked = [client.chat.completions.create(model=served.model, messages=MESSAGES, max_tokens=2) for _ in range(8)]
            assert all(answer.choices[0].finish_reason for answer in await asyncio.gather(*asked))
            stream = await client.chat.completions.create(model=served.model, messages=MESSAGES, max_tokens=4, stream=True)
            finish = [choice.finish_reason async for chunk in stream for choice in chunk.choices]
            assert finish[-1] in ("stop", "length")
            embedded = await client.embeddings.create(model=served.embedding_model, input="a cat")
            assert embedded.data[0].embedding
            assert served.model in [model.id async for model in client.models.list()]
            answer = await client.responses.create(model=served.model, input="Say one word.", max_output_tokens=16)
            assert isinstance(answer.output_text, str)

    asyncio.run(run())


CHECKS: tuple[Callable[[Served], None], ...] = (
    chat,
    chat_stream,
    chat_stream_usage,
    chat_stream_helper,
    streams_end_with_done,
    a_stream_may_be_left,
    completions,
    responses,
    embeddings,
    models,
    unknown_fields_pass,
    own_project,
    another_project,
    unknown_model,
    bad_key,
    asynchronously,
)
