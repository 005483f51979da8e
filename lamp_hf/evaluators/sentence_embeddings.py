"""Sentence embeddings by a frozen encoder."""

import torch
from torch import nn
from tqdm.auto import tqdm


@torch.no_grad()
def sentence_embeddings(texts: list[str], encoder: str) -> torch.Tensor:
    """Embed sentences by the mean hidden states of a frozen sentence encoder.

    Args:
        texts (`list[str]`): sentences.
        encoder (`str`): Hub id or folder of the encoder.

    Returns:
        `torch.FloatTensor` of shape `(num_texts, hidden_size)`, unit-norm.
    """
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(encoder).eval(), AutoTokenizer.from_pretrained(encoder)
    states = torch.zeros(len(texts), model.config.hidden_size, dtype=torch.float32)
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for first in tqdm(range(0, len(order), 128), "embedding sentences", disable=None, delay=2):
        rows = order[first : first + 128]
        batch = tokenizer([texts[i] for i in rows], padding=True, truncation=True, return_tensors="pt")
        hidden, mask = model(**batch).last_hidden_state, batch["attention_mask"][..., None]
        states[rows] = (hidden * mask).sum(1) / mask.sum(1)
    return nn.functional.normalize(states, dim=-1)
