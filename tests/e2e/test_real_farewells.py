"""A real vLLM that is killed under a stream: its host says the last event in its place."""

import signal

import openai
import pytest

from fleetform.host import processes
from fleetform.host.farewells.deposit import CODE, MESSAGE
from tests.e2e.real_shop import RealShop
from tests.e2e.shop import PROJECT
from tests.harness.engines import Looker
from tests.harness.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.timeout(900)]
NAME = "farewell"


def test_a_stream_of_a_vllm_that_is_killed_ends_with_a_typed_error(real_shop: RealShop) -> None:
    real_shop.serve(NAME)
    looker = Looker(real_shop.stack, PROJECT)
    (engine,) = until("it serves", lambda: looker.engines(NAME))
    stream = real_shop.client().chat.completions.create(
        model=NAME, messages=[{"role": "user", "content": "x"}], max_tokens=450, stream=True, extra_body={"ignore_eos": True}
    )
    parts = 0
    with pytest.raises(openai.APIError) as caught:  # the stream is what raises
        for part in stream:
            assert not part.choices or part.choices[0].finish_reason is None
            parts += 1
            if parts == 5:
                assert processes.send(engine.members[0], signal.SIGKILL)
    assert not isinstance(caught.value, openai.APIConnectionError)
    assert (caught.value.code, caught.value.message) == (CODE, MESSAGE)
    real_shop.delete(NAME)
