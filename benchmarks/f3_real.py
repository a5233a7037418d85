"""The part of F3 with real vLLM: v1 → v2 of a tiny model under load, with streams that run through the change."""

from tests.engines.tiny_models import write_tiny_chat_model
from tests.harness.judging import Lost
from tests.harness.load import SteadyLoad
from tests.harness.stack import Stack
from tests.harness.waiting import until

PROJECT, NAME = "bench", "chat"
START_S = 900
RATE = 2.0
LONG = {"max_tokens": 200, "ignore_eos": True}


def rollout() -> tuple[int, list[Lost], str]:
    """Requests sent, those lost, and a note."""
    with Stack() as stack:
        models = stack.home / "models"
        stack.fleetform("project", "create", "--name", PROJECT, "--artifact-prefix", f"file://{models}/")
        stack.fleetform("quota", "set", "--project", PROJECT, "--instance-type", "cpu-small", "--max-replicas", "4")
        stack.fleetform("token", "create", "--project", PROJECT, "--name", "app", "--role", "inference.invoker")
        key = str(stack.answer("token", "mint", "app", "--project", PROJECT)["secret"])
        for seed, version in enumerate(("v1", "v2")):
            write_tiny_chat_model(models / version, seed=seed)
            source = ("--artifact", f"file://{models}/{version}/", "--framework", "pytorch", "--runtime", "cpu", "--wait")
            stack.fleetform("model", "register", "--project", PROJECT, "--name", "m", "--version", version, *source)
        steps = ("--steps", "50,100", "--step-hold", "5s", "--bake", "5s", "--wait")
        where = ("--project", PROJECT, "--name", NAME)
        stack.fleetform("endpoint", "create", *where, "--model", "m:v1", "--instance-type", "cpu-small", *steps, timeout_s=START_S)
        before = until("an engine runs", lambda: _engines(stack))
        body = {"max_tokens": 8, "ignore_eos": True}
        url = stack.environment["OPENAI_BASE_URL"]
        with SteadyLoad(url, key, NAME, rate=RATE, long_streams=2, plain_body=body, long_body=LONG, timeout_s=300) as load:
            load.answer_at_least(10)
            stack.fleetform("endpoint", "update", *where, "--traffic-split", "v2=100", "--wait", timeout_s=START_S)
            until("the old engine is gone", lambda: not before & _engines(stack), timeout_s=180, every_s=1)
            load.answer_at_least(20)
        return load.sent, load.lost, f"1 rollout, slowest answer {load.slowest_s:.1f} s"


def _engines(stack: Stack) -> set[int]:
    """The leaders of the engines that run, however they were started."""
    return {program["pid"] for program in stack.answer("status")["programs"] if program["name"].startswith("engine ")}
