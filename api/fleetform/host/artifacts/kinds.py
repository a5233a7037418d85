"""What a set of files is: format, task, architecture, dtype, context length; and whether an engine could load it."""

from collections.abc import Mapping
from pathlib import PurePosixPath

from fleetform.domain.base import Record
from fleetform.domain.conditions import Reason
from fleetform.domain.model import ModelFormat, Task
from fleetform.domain.protocol import VerifyArtifact
from fleetform.host.artifacts import gguf
from fleetform.host.artifacts.content import CODE, FileFacts
from fleetform.host.artifacts.refusal import refusal

VLLM = "vllm"
INDEX = "model.safetensors.index.json"
TOKENIZERS: tuple[frozenset[str], ...] = (
    frozenset({"tokenizer.json"}),
    frozenset({"tokenizer.model"}),
    frozenset({"vocab.json", "merges.txt"}),
    frozenset({"vocab.txt"}),
    frozenset({"spiece.model"}),
    frozenset({"sentencepiece.bpe.model"}),
    frozenset({"tekken.json"}),
)
"""Any one of these sets is a tokenizer; so is a *.tiktoken file."""

CONTEXT_KEYS = ("max_position_embeddings", "n_positions", "max_sequence_length", "seq_length", "max_seq_len", "model_max_length")


class Kind(Record, frozen=True, kw_only=True):
    """The part of a manifest that is found by looking."""

    format: ModelFormat
    task: Task
    has_remote_code: bool = False
    architecture: str = ""
    dtype: str = ""
    context_length: int = 0


def check_complete(paths: frozenset[str], command: VerifyArtifact) -> None:
    """Refused (ArtifactMissing) when files are missing without which vLLM cannot load; asked before a byte is read.

    Other engines know their own files.
    """
    if command.engine != VLLM or _format(paths, command) is ModelFormat.GGUF:
        return
    missing = []
    if "config.json" not in paths:
        missing.append("config.json")
    if not any(tokenizer <= paths for tokenizer in TOKENIZERS) and not any(p.endswith(".tiktoken") for p in paths):
        missing.append("a tokenizer (tokenizer.json, tokenizer.model, vocab.json with merges.txt, vocab.txt)")
    if not any("/" not in p and p.endswith(".safetensors") for p in paths):
        missing.append("weights (*.safetensors or one *.gguf)")
    if missing:
        raise refusal(Reason.ARTIFACT_MISSING, f"the artifact lacks {', '.join(missing)}", missing=missing)


def kind_of(facts: Mapping[str, FileFacts], command: VerifyArtifact) -> Kind:
    """What these files are, by path. Refused: a missing shard, or RuntimeMismatch when it is not what the version declares."""
    paths = frozenset(facts)
    format_ = _format(paths, command)
    found = _gguf_kind(facts, command) if format_ is ModelFormat.GGUF else _safetensors_kind(facts, command)
    if command.format and command.format != found.format:
        raise _mismatch(f"the version declares the format {command.format}, and the artifact is {found.format}")
    if command.task and command.engine == VLLM and command.task != found.task:
        raise _mismatch(f"the version declares the task {command.task}, and {found.architecture} is for {found.task}")
    return found


def _format(paths: frozenset[str], command: VerifyArtifact) -> ModelFormat:
    """GGUF where it is declared or the only kind of weights there is."""
    weights = {PurePosixPath(p).suffix for p in paths if "/" not in p}
    if ".gguf" in weights and (command.format == ModelFormat.GGUF or ".safetensors" not in weights):
        return ModelFormat.GGUF
    return ModelFormat.SAFETENSORS


def _gguf_kind(facts: Mapping[str, FileFacts], command: VerifyArtifact) -> Kind:
    headers = {path: f.gguf for path, f in facts.items() if f.gguf is not None and "/" not in path}
    if command.engine == VLLM and len(headers) != 1:
        raise _mismatch(f"the folder holds {len(headers)} GGUF files ({', '.join(sorted(headers))}); register the one to serve")
    header = headers[min(headers)]
    if command.engine == VLLM and header.parts > 1:
        raise _mismatch("the model is split over several GGUF files; merge them (llama-gguf-split --merge) and register the result")
    if command.engine == VLLM and header.architecture not in gguf.CONVERTIBLE:
        raise _mismatch(f"GGUF of the architecture {header.architecture!r} cannot be converted for vLLM; bring it as safetensors")
    return Kind(
        format=ModelFormat.GGUF,
        task=Task(command.task) if command.task and command.engine != VLLM else Task.GENERATE,
        has_remote_code=_has_code(facts),
        architecture=header.architecture,
        dtype=header.dtype,
        context_length=header.context_length,
    )


def _safetensors_kind(facts: Mapping[str, FileFacts], command: VerifyArtifact) -> Kind:
    _check_shards(facts)
    config = facts["config.json"].settings if "config.json" in facts else None
    config = config or {}
    architecture = _architecture(config)
    return Kind(
        format=ModelFormat.SAFETENSORS,
        task=_task(architecture, frozenset(facts), command),
        has_remote_code=_has_code(facts),
        architecture=architecture,
        dtype=_dtype(facts),
        context_length=_context_length(config),
    )


def _check_shards(facts: Mapping[str, FileFacts]) -> None:
    index = facts[INDEX].settings if INDEX in facts else None
    weight_map = index.get("weight_map") if index else None
    if not isinstance(weight_map, dict):
        return
    missing = sorted({str(shard) for shard in weight_map.values()} - facts.keys())
    if missing:
        named = ", ".join(missing[:5]) + ("" if len(missing) <= 5 else f" and {len(missing) - 5} more")
        raise refusal(Reason.ARTIFACT_MISSING, f"{INDEX} names weights that are not there: {named}", missing=missing[:100])


def _architecture(config: Mapping[str, object]) -> str:
    listed = config.get("architectures")
    return str(listed[0])[:128] if isinstance(listed, list) and listed else ""


def _task(architecture: str, paths: frozenset[str], command: VerifyArtifact) -> Task:
    """Sentence-transformers files win: Qwen3-Embedding, for one, is a …ForCausalLM that embeds."""
    if command.engine != VLLM:
        return Task(command.task) if command.task else Task.GENERATE
    if "modules.json" in paths or "config_sentence_transformers.json" in paths:
        return Task.EMBED
    if architecture.endswith(("ForCausalLM", "LMHeadModel", "ForConditionalGeneration")):
        return Task.GENERATE
    if architecture.endswith(("Model", "ForMaskedLM", "EmbeddingModel")):
        return Task.EMBED
    raise _mismatch(f"config.json names the architecture {architecture or 'nothing'!r}, which neither generates text nor embeds it")


def _dtype(facts: Mapping[str, FileFacts]) -> str:
    """The dtype of the file with most tensors: what the weights are, whatever config.json says."""
    headers = [f.safetensors for f in facts.values() if f.safetensors is not None]
    return max(headers, key=lambda h: h.tensors).dtype if headers else ""


def _context_length(config: Mapping[str, object]) -> int:
    """In tokens; 0 when the config does not say. Multimodal configs keep it in text_config."""
    inner = config.get("text_config")
    for holder in (config, inner if isinstance(inner, dict) else {}):
        for key in CONTEXT_KEYS:
            value = holder.get(key)
            if isinstance(value, int) and not isinstance(value, bool) and value > 0:
                return value
    return 0


def _has_code(facts: Mapping[str, FileFacts]) -> bool:
    if any(PurePosixPath(path.lower()).suffix in CODE for path in facts):
        return True
    return any("auto_map" in f.settings for f in facts.values() if f.settings is not None)


def _mismatch(message: str) -> Exception:
    return refusal(Reason.RUNTIME_MISMATCH, message)
