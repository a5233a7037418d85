"""Who is taken for hung, and above all who is not."""

from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest

from fleetform.host import liveness
from fleetform.host.liveness import Pulse, Signs

WALL = datetime(2026, 1, 1, tzinfo=UTC)
LOOK_S = 0.5
PATIENCE_S = 60.0


class Watched:
    """An engine that is looked at twice a second, on a clock of its own. asked: how many canaries were sent."""

    def __init__(self, normal_s: float | None = 0.1) -> None:
        self.now = 100.0
        self.cpu_s = self.tokens = 0.0
        self.pulse = liveness.born(self.now, PATIENCE_S, normal_s)
        self.asked = 0

    def look(
        self,
        seconds: float,
        in_flight: int | None = 4,
        cores: float = 0.0,
        tokens_per_s: float = 0.0,
        stopped: tuple[int, ...] = (),
        answers_after_s: float | None = None,
        runnable: bool = False,
    ) -> Pulse:
        """Let it be like that for so long; a canary is answered after so many seconds, or not at all."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now += LOOK_S
            self.cpu_s += cores * LOOK_S
            self.tokens += tokens_per_s * LOOK_S
            signs = Signs(in_flight=in_flight, tokens=self.tokens, cpu_s=self.cpu_s, stopped=stopped, runnable=runnable)
            if answers_after_s is not None and self.pulse.asked_at is not None and self.now - self.pulse.asked_at >= answers_after_s:
                self.pulse = liveness.answered(self.pulse, self.now)
            self.pulse = liveness.judged(liveness.looked(self.pulse, signs, self.now, WALL), self.now, WALL)
            if liveness.wants_canary(self.pulse, self.now, jitter=0.5):
                self.pulse = liveness.asked(self.pulse, self.now)
                self.asked += 1
        return self.pulse

    def out_after(self, limit_s: float, **like: Any) -> float | None:
        """After how long it is out of rotation, within limit_s; None when it is not."""
        begun = self.now
        while self.now < begun + limit_s:
            if self.look(LOOK_S, **like).out_since is not None:
                return self.now - begun
        return None


def test_silence_with_work_is_out_in_five_seconds_and_hung_soon_after() -> None:
    watched = Watched()
    watched.look(10, cores=1.0)
    after_s = watched.out_after(20)
    assert after_s is not None
    assert after_s <= 4.5
    assert not watched.pulse.is_hung
    assert watched.look(liveness.SECOND_LIMIT_S + 1).is_hung
    assert watched.asked == 2


def test_a_stopped_process_needs_no_traffic_to_be_noticed() -> None:
    watched = Watched()
    watched.look(3, in_flight=0)
    after_s = watched.out_after(5, in_flight=0, stopped=(7,))
    assert after_s is not None
    assert after_s <= 2


def test_processor_time_of_its_other_processes_does_not_help_an_engine_with_a_stopped_one() -> None:
    watched = Watched()
    watched.look(3, cores=1.0)
    assert watched.out_after(5, cores=1.0, tokens_per_s=3.0, stopped=(7,)) is not None


@pytest.mark.parametrize("cores", [0.06, 1.0, 16.0])
def test_a_saturated_engine_or_a_long_prefill_is_left_alone(cores: float) -> None:
    watched = Watched()
    assert watched.look(PATIENCE_S - 5, in_flight=1280, cores=cores) == watched.pulse
    assert (watched.pulse.out_since, watched.asked) == (None, 0)


def test_an_engine_that_gets_no_core_is_left_alone() -> None:
    watched = Watched()
    assert watched.out_after(30, in_flight=1280, runnable=True) is None


def test_tokens_move_so_it_lives_however_long_a_request_takes() -> None:
    watched = Watched()
    assert watched.out_after(10 * PATIENCE_S, cores=0.0, tokens_per_s=1.0) is None
    assert watched.asked == 0


def test_one_that_spins_without_a_token_for_longer_than_a_request_may_take_is_found_in_the_end() -> None:
    watched = Watched()
    assert watched.out_after(PATIENCE_S - 1, cores=1.0) is None
    assert watched.out_after(10, cores=1.0) is not None


def test_idle_moments_between_requests_begin_the_patience_anew() -> None:
    watched = Watched()
    for _ in range(20):
        watched.look(PATIENCE_S / 2, cores=1.0)
        watched.look(1, in_flight=0, answers_after_s=0.1)
    assert watched.pulse.out_since is None


def test_a_silent_engine_that_answers_its_canaries_is_left_alone() -> None:
    watched = Watched()
    assert watched.out_after(300, answers_after_s=0.2) is None


def test_an_engine_that_is_always_slow_is_given_its_own_time() -> None:
    watched = Watched(normal_s=4.0)
    assert watched.out_after(300, answers_after_s=8.0) is None


def test_idle_engines_are_asked_now_and_then_and_a_dead_one_is_found() -> None:
    watched = Watched()
    watched.look(100, in_flight=0, answers_after_s=0.1)
    assert 2 <= watched.asked <= 3
    assert watched.out_after(50, in_flight=0) is not None


def test_it_comes_back_with_the_first_answer_and_not_with_processor_time_alone() -> None:
    watched = Watched()
    watched.out_after(10)
    assert watched.look(3, cores=1.0).out_since is not None
    back = watched.look(1, in_flight=0, answers_after_s=0.1)
    assert (back.out_since, back.missed) == (None, 0)


def test_progress_while_a_canary_is_under_way_begins_its_limit_anew() -> None:
    watched = Watched()
    watched.out_after(10)
    watched.look(liveness.SECOND_LIMIT_S - 1)
    watched.look(1, cores=1.0)
    assert not watched.look(liveness.SECOND_LIMIT_S - 1).is_hung
    assert watched.look(2).is_hung


def test_time_in_which_nobody_looked_proves_nothing() -> None:
    watched = Watched()
    watched.look(1.5)
    watched.now += 600
    watched.look(2)
    assert (watched.pulse.out_since, watched.pulse.missed) == (None, 0)


def test_a_helper_that_is_stopped_for_good_is_forgiven_after_an_answer() -> None:
    watched = Watched()
    watched.look(1, in_flight=0)
    assert watched.look(20, in_flight=0, stopped=(7,), answers_after_s=0.1).out_since is None
    assert watched.asked == 1
    assert watched.out_after(5, in_flight=0, stopped=(7, 8)) is not None


def test_an_engine_that_was_out_when_the_host_process_died_stays_out_until_it_answers() -> None:
    pulse = liveness.born(0.0, PATIENCE_S, 0.1, WALL)
    assert pulse.out_since == WALL
    assert liveness.wants_canary(pulse, 0.5, 0.0)
    assert liveness.answered(liveness.asked(pulse, 0.5), 0.6).out_since is None


def test_the_sentence_names_what_was_seen() -> None:
    watched = Watched()
    watched.out_after(10)
    assert "4 requests under way" in liveness.why(watched.pulse, watched.now)
    watched.look(1, stopped=(7,))
    assert "process 7" in liveness.why(watched.pulse, watched.now)


def test_how_long_a_canary_waited_for_a_stopped_engine_is_not_what_is_normal() -> None:
    quiet = Signs(in_flight=1, tokens=None, cpu_s=0.0)
    pulse = liveness.looked(liveness.born(0.0, 60.0, 0.1), quiet, 0.5, WALL)
    pulse = liveness.looked(pulse, msgspec.structs.replace(quiet, stopped=(7,)), 1.0, WALL)
    pulse = liveness.looked(liveness.asked(pulse, 1.0), msgspec.structs.replace(quiet, stopped=(7,)), 2.0, WALL)
    pulse = liveness.answered(liveness.looked(pulse, quiet, 2.5, WALL), 2.6)
    assert (pulse.normal_s, pulse.out_since) == (0.1, None)
    assert liveness.answered(liveness.asked(pulse, 3.0), 4.0).normal_s == 1.0
