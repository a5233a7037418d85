"""What the zygote learns while vLLM is imported: when it must not fork, and what its forks are to have of the import."""

import functools
import importlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleetform.host.zygote import devices, vllm
from fleetform.host.zygote.devices import Device

A_DEVICE = Device(number=0, uuid="GPU-1", name="NVIDIA H200", capability=(9, 0), driver="580.159.03")
ON_DEVICE, ON_CPU = True, False


@pytest.fixture
def prepared(monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """prepare() on a machine with these devices, where the import of vLLM does and gives what is told."""
    monkeypatch.setattr(vllm, "_set_by_imports", {})

    def prepare(*found: Device, imports: Callable[[], bool]) -> str:
        monkeypatch.setattr(devices, "read", lambda: found)
        monkeypatch.setattr(vllm, "_import", imports)
        return vllm.prepare()

    return prepare


def test_engines_are_forked_for_devices_and_for_none(prepared: Callable[..., str]) -> None:
    assert prepared(A_DEVICE, imports=lambda: ON_DEVICE) == ""
    assert prepared(imports=lambda: ON_CPU) == ""


def test_a_question_without_an_answer_forbids_it_also_where_vllm_hides_the_error(prepared: Callable[..., str]) -> None:
    def asks() -> bool:
        pynvml: Any = importlib.import_module(devices.PYNVML)
        try:
            pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0))
        except Exception:
            return ON_DEVICE
        raise AssertionError("it was answered")

    why = "vLLM asks NVML for nvmlDeviceGetMemoryInfo when it is imported, which nvidia-smi does not answer"
    assert prepared(A_DEVICE, imports=asks) == why


def test_devices_of_several_kinds_forbid_it_before_anything_is_imported(prepared: Callable[..., str]) -> None:
    other = A_DEVICE._replace(number=1, uuid="GPU-2", name="NVIDIA L4", capability=(8, 9))

    def imports() -> bool:
        raise AssertionError("it was imported")

    assert prepared(A_DEVICE, other, imports=imports) == "this machine has devices of several kinds: NVIDIA H200, NVIDIA L4"


def test_software_for_devices_without_one_forbids_it(prepared: Callable[..., str]) -> None:
    assert prepared(imports=lambda: ON_DEVICE) == "nvidia-smi names no device"


def test_an_opened_device_forbids_it(prepared: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    readlink = Path.readlink
    monkeypatch.setattr(Path, "readlink", lambda path: Path("/dev/nvidiactl") if path.name == "2" else readlink(path))
    assert prepared(A_DEVICE, imports=lambda: ON_DEVICE) == "importing vLLM has initialised CUDA in the zygote"


def test_a_loaded_nvml_forbids_it(prepared: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    read_text = Path.read_text
    maps = "7f00 r-xp 00000000 08:01 12 /usr/lib/libnvidia-ml.so.580.159.03\n"
    monkeypatch.setattr(Path, "read_text", lambda path, **how: maps if path == Path("/proc/self/maps") else read_text(path, **how))
    assert prepared(A_DEVICE, imports=lambda: ON_DEVICE) == "importing vLLM has loaded NVML into the zygote"


def test_a_fork_has_what_the_import_would_have_made_of_its_environment(
    prepared: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("KEPT", "zygote"), ("CHANGED", "old"), ("OTHER", "zygote")):
        monkeypatch.setenv(name, value)
    for name in ("SET", "CHOSEN"):
        monkeypatch.delenv(name, raising=False)

    def sets() -> bool:
        for name, value in (("CHANGED", "new"), ("SET", "1"), ("CHOSEN", "default"), ("OTHER", "new")):
            monkeypatch.setenv(name, value)
        return ON_DEVICE

    assert prepared(A_DEVICE, imports=sets) == ""
    env = {"CHANGED": "old", "CHOSEN": "mine", "OTHER": "mine"}
    assert vllm._as_imported(env) == {"CHANGED": "new", "SET": "1"}
    assert os.environ["KEPT"] == "zygote"


def test_what_was_remembered_of_the_devices_is_forgotten() -> None:
    platforms: Any = importlib.import_module("vllm.platforms.interface")
    asked: list[int] = []

    class Platform:
        __module__ = platforms.__name__

        @classmethod
        @functools.cache
        def capability(cls) -> int:
            asked.append(1)
            return len(asked)

    assert (Platform.capability(), Platform.capability()) == (1, 1)
    vllm._forget_answers(Platform)
    assert Platform.capability() == 2
