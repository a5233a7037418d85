"""The quickstart's models in their places: complete, left alone when right, repaired when not."""

import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).resolve().parents[2] / "tools" / "quickstart_models.py"


def place(folder: Path) -> list[str]:
    """The last word of each line that the tool says: `placed` or `there`."""
    done = subprocess.run([sys.executable, TOOL, folder], check=True, capture_output=True, text=True, timeout=50)
    return [line.rsplit(" ", 1)[-1] for line in done.stdout.splitlines()]


def identities(folder: Path) -> dict[str, tuple[int, int]]:
    return {str(p.relative_to(folder)): (p.stat().st_ino, p.stat().st_size) for p in folder.rglob("*") if p.is_file()}


def test_placed_once_and_repaired(tmp_path: Path) -> None:
    models = tmp_path / "home" / "models"
    assert place(models) == ["placed", "placed"]
    first = identities(models)
    assert [Path(name).suffix for name in first if name.startswith("smollm2-135m/")] == [".gguf"]
    assert {"all-minilm-l6-v2/config.json", "all-minilm-l6-v2/model.safetensors", "all-minilm-l6-v2/1_Pooling/config.json"} <= first.keys()
    assert not [name for name in first if "/." in name or name.endswith(".md")]
    assert place(models) == ["there", "there"]
    assert identities(models) == first
    (models / "all-minilm-l6-v2" / "config.json").write_text("{}")
    (models / "all-minilm-l6-v2" / "more.py").write_text("")
    assert place(models) == ["there", "placed"]
    assert {name: size for name, (_, size) in identities(models).items()} == {name: size for name, (_, size) in first.items()}
    assert sorted(p.name for p in models.iterdir()) == ["all-minilm-l6-v2", "smollm2-135m"]
