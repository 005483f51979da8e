"""Galleries on the Hugging Face Hub, as data sets."""

from pathlib import Path

from huggingface_hub import HfApi

from .storage import VECTORS


_CARD = """---
tags: [motion, retrieval]
---
# {name}

A gallery of {num_motions} motions for the package `lamp_hf`: vectors, not the motions themselves.

```python
import lamp_hf

lamp_hf.MotionIndex.load("{name}").search(text="someone waves")
```
"""


def write_card(folder: str | Path, name: str, num_motions: int) -> None:
    """Write the `README.md` of a gallery that will be the data set `name` on the Hub."""
    text = _CARD.format(name=name, num_motions=num_motions)
    (Path(folder) / "README.md").write_text(text, encoding="utf-8")


def upload(folder: str | Path, name: str, **options) -> str:
    """Upload a saved gallery in place of the data set's earlier one, and return the data set's address.

    Args:
        folder (`str` or `Path`): the saved gallery.
        name (`str`): the data set, `user/name`; made if it is missing.
        options (*optional*): options of [`huggingface_hub.HfApi.create_repo`], `private=True` for instance.
    """
    api = HfApi()
    address = api.create_repo(name, repo_type="dataset", exist_ok=True, **options)
    api.upload_folder(repo_id=name, repo_type="dataset", folder_path=folder, delete_patterns=VECTORS)
    return str(address)
