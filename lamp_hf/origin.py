"""Where a model is from, so that what was made with one is not read with another."""

import hashlib
from pathlib import Path

from transformers.utils import cached_file


def identify(name: str | Path, config) -> str:
    """A model's name with where it is from: a folder's fingerprint, or the commit of a Hub id."""
    commit = getattr(config, "_commit_hash", None)
    return fingerprint(name) if Path(name).is_dir() else str(name) + (f"@{commit[:8]}" if commit else "")


def fingerprint(folder: str | Path) -> str:
    """A model folder's name and the first digits of the SHA-256 of what decides its answers."""
    return f"{Path(folder).resolve().name}@{content_digest(folder)[:8]}"


def content_digest(name: str | Path) -> str:
    """SHA-256 of what decides a model's answers, of a folder or of what is in the cache of a Hub id."""
    folder = Path(name)
    if not folder.is_dir():
        folder = Path(cached_file(str(name), "config.json")).parent
    digest = hashlib.sha256()
    for path in sorted(folder.iterdir()):
        if path.suffix in (".safetensors", ".bin") or path.name in _DECIDING:
            digest.update(path.read_bytes())
    return digest.hexdigest()


_DECIDING = ("config.json", "adapter_config.json", "processor_config.json", "tokenizer.json", "tokenizer_config.json")
