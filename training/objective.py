"""A model and its loss, as the training loop takes them."""

import torch
from torch import nn
from transformers import PreTrainedModel


class Objective(nn.Module):
    """A model and its loss: called with a batch, returns the loss and a dictionary of numbers to log.

    This one takes the model's own loss. Stages with losses of their own derive from it.
    """

    leaves_weights_unused = False  # True where a batch may give some trained weights no gradient

    def __init__(self, model: PreTrainedModel):
        super().__init__()
        self.model = model

    def forward(self, **batch) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return self.model(**batch).loss, {}
