"""What torch and vLLM ask NVML while they are imported, answered by `nvidia-smi` in a process of its own.

NVML in the zygote itself would leave a thread of the driver behind, also once it is closed, and a thread forbids every fork. Only what
`nvidia-smi` says exactly is answered; any other question is an error, by which the zygote learns that it must not fork.
"""

import contextlib
import csv
import importlib
import inspect
import subprocess
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Never

PYNVML = "vllm.third_party.pynvml"
"""vLLM's own binding of NVML; importing it asks nothing."""
QUERY = "index,uuid,name,compute_cap,driver_version"
QUERY_TIMEOUT_S = 60.0
"""A driver that nobody has used since the machine began takes seconds for each device."""


class Device(NamedTuple):
    """One GPU as `nvidia-smi` describes it; also what stands for its handle. number: its index in NVML."""

    number: int
    uuid: str
    name: str
    capability: tuple[int, int]
    driver: str


class Unanswered(Exception):
    """NVML was asked something that `nvidia-smi` does not answer."""


def read() -> tuple[Device, ...]:
    """The GPUs of this machine in NVML's order; none without a driver, and where it does not answer as it should."""
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=QUERY_TIMEOUT_S, check=True)
        found = tuple(sorted(_device(row) for row in csv.reader(told.stdout.splitlines()) if row))
    except (OSError, subprocess.SubprocessError, ValueError):
        return ()
    # One that does not answer is left out there; NVML would count it.
    return found if [device.number for device in found] == list(range(len(found))) else ()


def of_several_kinds(devices: tuple[Device, ...]) -> bool:
    """True when an engine may find another kind of device than the first, by which the software has made its choices when imported."""
    return len({(device.name, device.capability) for device in devices}) > 1


@contextlib.contextmanager
def answered_apart(devices: tuple[Device, ...]) -> Iterator[list[str]]:
    """While it lasts, torch and vLLM are told of these devices. It gives the questions that were not answered; vLLM may hide the error."""
    import torch

    pynvml: Any = importlib.import_module(PYNVML)
    unanswered: list[str] = []
    answers = _answers(devices, pynvml)
    true = {name: value for name, value in vars(pynvml).items() if name.startswith("nvml") and inspect.isfunction(value)}
    count = torch.cuda._device_count_nvml
    torch.cuda._device_count_nvml = lambda: len(devices)
    vars(pynvml).update({name: answers.get(name) or _no_answer(name, unanswered) for name in true})
    try:
        yield unanswered
    finally:
        torch.cuda._device_count_nvml = count
        vars(pynvml).update(true)


def _device(row: list[str]) -> Device:
    """A line of the answer. ValueError when it is none."""
    number, uuid, name, capability, driver = (cell.strip() for cell in row)
    major, minor = capability.split(".")
    return Device(number=int(number), uuid=uuid, name=name, capability=(int(major), int(minor)), driver=driver)


def _answers(devices: tuple[Device, ...], pynvml: Any) -> dict[str, Callable[..., Any]]:
    """Function of NVML's binding → what it says of these devices, and how it fails."""

    def begin(flags: int = 0) -> None:
        if not devices:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def by_index(index: int) -> Device:
        if not 0 <= index < len(devices):
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return devices[index]

    def by_uuid(uuid: str | bytes) -> Device:
        word = uuid.decode() if isinstance(uuid, bytes) else uuid
        for device in devices:
            if device.uuid == word:
                return device
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)

    return {
        "nvmlInit": begin,
        "nvmlInitWithFlags": begin,
        "nvmlShutdown": lambda: None,
        "nvmlSystemGetDriverVersion": lambda: devices[0].driver,
        "nvmlDeviceGetCount": lambda: len(devices),
        "nvmlDeviceGetHandleByIndex": by_index,
        "nvmlDeviceGetHandleByUUID": by_uuid,
        "nvmlDeviceGetIndex": lambda device: device.number,
        "nvmlDeviceGetUUID": lambda device: device.uuid,
        "nvmlDeviceGetName": lambda device: device.name,
        "nvmlDeviceGetCudaComputeCapability": lambda device: device.capability,
    }


def _no_answer(name: str, unanswered: list[str]) -> Callable[..., Never]:
    def ask(*_: object, **__: object) -> Never:
        unanswered.append(name)
        raise Unanswered(f"NVML's {name} is not answered by nvidia-smi")

    return ask
