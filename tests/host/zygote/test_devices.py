"""How the zygote learns of GPUs without opening anything of the driver's: NVML left open is a thread, and a thread forbids every fork."""

from pathlib import Path

import pytest
import torch

from fleetform.host.zygote import vllm

LISTED = "GPU 0: NVIDIA H200 (UUID: GPU-1)\nGPU 1: NVIDIA H200 (UUID: GPU-2)\n"


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only directory in which programs are found."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_devices_are_counted_by_another_process(programs: Path) -> None:
    a_driver(programs, f"printf '{LISTED}'")
    assert vllm.device_count() == 2


def test_a_machine_without_a_driver_has_none(programs: Path) -> None:
    assert vllm.device_count() == 0


def test_a_driver_that_fails_has_none(programs: Path) -> None:
    a_driver(programs, f"printf '{LISTED}'; exit 9")
    assert vllm.device_count() == 0


def test_torch_is_told_the_number_for_as_long_as_vllm_is_imported(programs: Path) -> None:
    a_driver(programs, f"printf '{LISTED}'")
    asks = torch.cuda._device_count_nvml
    with vllm.devices_counted_apart():
        assert torch.cuda._device_count_nvml() == 2
    assert torch.cuda._device_count_nvml is asks


def a_driver(programs: Path, script: str) -> None:
    program = programs / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o700)
