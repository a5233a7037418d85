"""How the zygote learns of GPUs without opening anything of the driver's: NVML leaves a thread behind, and a thread forbids every fork."""

import ctypes
import importlib
from pathlib import Path
from typing import Any

import pytest
import torch

from fleetform.host.zygote import devices
from fleetform.host.zygote.devices import Device

ONE, TWO = "GPU-11111111-1111-1111-1111-111111111111", "GPU-22222222-2222-2222-2222-222222222222"
LINES = (f"0, {ONE}, NVIDIA H200, 9.0, 580.159.03", f"1, {TWO}, NVIDIA H200, 9.0, 580.159.03")
TOLD = f"echo '{LINES[0]}'; echo '{LINES[1]}'"
FIRST = Device(number=0, uuid=ONE, name="NVIDIA H200", capability=(9, 0), driver="580.159.03")
SECOND = FIRST._replace(number=1, uuid=TWO)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in which programs are found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


@pytest.fixture
def pynvml(monkeypatch: pytest.MonkeyPatch) -> Any:
    """vLLM's binding of NVML, on a machine whose NVML may not be loaded."""

    def load(name: str, *_: object, **__: object) -> None:
        raise AssertionError(f"{name} was loaded")

    found = importlib.import_module(devices.PYNVML)
    monkeypatch.setattr(found, "CDLL", load)
    monkeypatch.setattr(ctypes, "CDLL", load)
    return found


def test_devices_are_read_by_another_process_in_the_order_of_nvml(programs: Path) -> None:
    a_driver(programs, f"echo '{LINES[1]}'; echo '{LINES[0]}'")
    assert devices.read() == (FIRST, SECOND)


def test_it_asks_for_what_it_reads(programs: Path) -> None:
    a_driver(programs, f'[ "$1" = --query-gpu=index,uuid,name,compute_cap,driver_version ] || exit 1; {TOLD}')
    assert len(devices.read()) == 2


@pytest.mark.parametrize(
    "script",
    [
        f"{TOLD}; exit 9",
        "echo 'No devices were found'",
        f"echo '0, {ONE}, NVIDIA H200, [N/A], 580.159.03'",
        f"echo '{LINES[1]}'",
    ],
    ids=["it fails", "it names none", "it does not know", "it leaves one out"],
)
def test_a_driver_that_does_not_answer_as_it_should_has_none(programs: Path, script: str) -> None:
    a_driver(programs, script)
    assert devices.read() == ()


def test_a_machine_without_a_driver_has_none(programs: Path) -> None:
    assert devices.read() == ()


@pytest.mark.parametrize(("second", "several"), [(SECOND, False), (SECOND._replace(name="NVIDIA L4", capability=(8, 9)), True)])
def test_several_kinds_of_devices_are_noticed(second: Device, several: bool) -> None:
    assert devices.of_several_kinds((FIRST, second)) is several


def test_while_it_lasts_torch_and_vllm_are_told_of_them_and_nvml_is_not_loaded(pynvml: Any) -> None:
    true, count = dict(vars(pynvml)), torch.cuda._device_count_nvml
    with devices.answered_apart((FIRST, SECOND)) as unanswered:
        assert torch.cuda._device_count_nvml() == 2
        pynvml.nvmlInit()
        pynvml.nvmlInitWithFlags(0)
        assert pynvml.nvmlDeviceGetCount() == 2
        assert pynvml.nvmlSystemGetDriverVersion() == "580.159.03"
        handle = pynvml.nvmlDeviceGetHandleByIndex(1)
        assert pynvml.nvmlDeviceGetHandleByUUID(TWO) == pynvml.nvmlDeviceGetHandleByUUID(TWO.encode()) == handle
        assert pynvml.nvmlDeviceGetIndex(handle) == 1
        assert pynvml.nvmlDeviceGetUUID(handle) == TWO
        assert pynvml.nvmlDeviceGetName(handle) == "NVIDIA H200"
        assert pynvml.nvmlDeviceGetCudaComputeCapability(handle) == (9, 0)
        pynvml.nvmlShutdown()
    assert unanswered == []
    assert dict(vars(pynvml)) == true
    assert torch.cuda._device_count_nvml is count


def test_afterwards_nvml_itself_is_asked(pynvml: Any) -> None:
    with devices.answered_apart((FIRST,)):
        pass
    with pytest.raises(AssertionError, match=r"libnvidia-ml.so.1 was loaded"):
        pynvml.nvmlInit()


@pytest.mark.parametrize("ask", [lambda nvml: nvml.nvmlDeviceGetHandleByIndex(2), lambda nvml: nvml.nvmlDeviceGetHandleByUUID("GPU-3")])
def test_what_is_not_there_is_an_error_of_nvml(pynvml: Any, ask: Any) -> None:
    with devices.answered_apart((FIRST, SECOND)) as unanswered, pytest.raises(pynvml.NVMLError):
        ask(pynvml)
    assert unanswered == []


def test_a_machine_without_a_device_is_one_without_nvml(pynvml: Any) -> None:
    with devices.answered_apart(()), pytest.raises(pynvml.NVMLError_LibraryNotFound):
        pynvml.nvmlInit()


def test_a_question_without_an_answer_is_an_error_that_names_it_and_is_remembered(pynvml: Any) -> None:
    with devices.answered_apart((FIRST,)) as unanswered, pytest.raises(devices.Unanswered, match="nvmlDeviceGetMemoryInfo"):
        pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0))
    assert unanswered == ["nvmlDeviceGetMemoryInfo"]


def a_driver(programs: Path, script: str) -> None:
    program = programs / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
