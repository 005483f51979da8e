r"""Stage 2b: train LaMP's matcher anew, on LaMP as it is.

lamp-hf train matcher --recipe small/matcher --data mocap.parquet \
        --tokenizer runs/tokenizer/model --lamp runs/lamp/model --output runs/matcher

Trained together with the other objectives, the matcher knows the training pairs by heart before LaMP has learned them.
Here nothing else changes, and it stops earlier.
"""

import torch
from torch import nn

from lamp_hf.distributed import this_process
from lamp_hf.models.lamp_matching import LampMatcher
from lamp_hf.models.modeling_common import mean_of_words
from lamp_hf.models.modeling_lamp_pretraining import LampForPreTraining
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel
from lamp_hf.models.processing_lamp import LampProcessor

from .augmentation.paraphrase import load_paraphraser
from .command_line import parse_arguments
from .data import Clips
from .loop import Objective, train
from .texts import TextTable
from .train_lamp import PairSource, validate


class MatcherObjective(Objective):
    """The matching loss of LaMP, of which only the matcher learns."""

    def __init__(self, model: LampForPreTraining):
        super().__init__(model)
        model.requires_grad_(False)
        model.lamp.matcher.requires_grad_(True)

    def train(self, mode: bool = True):
        super().train(mode)
        self.model.eval()
        self.model.lamp.matcher.train(mode)
        return self

    def forward(
        self, input_ids, attention_mask, text_states, latents, latent_mask, motion_codes, clip_ids, caption_ids
    ):
        lamp, mask = self.model.lamp, attention_mask.bool()
        with torch.no_grad():
            text, motion = lamp.encode_text_parts(text_states, mask), lamp.encode_motion_parts(latents, latent_mask)
        sentences = nn.functional.normalize(mean_of_words(text_states, mask), dim=-1)
        rows = torch.arange(len(clip_ids), device=mask.device)
        loss = self.model.matching_loss(text_states, mask, text, motion, rows, sentences, clip_ids, caption_ids)
        return loss, {}


def build(recipe: dict, folder) -> LampForPreTraining:
    """Load LaMP with a new matcher."""
    model = LampForPreTraining.from_pretrained(folder)
    for name, value in recipe["model"].items():
        setattr(model.config, name, value)
        setattr(model.lamp.config, name, value)
    torch.manual_seed(recipe["seed"])
    model.lamp.matcher = LampMatcher(model.config)
    return model


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("matcher", __doc__, command_line, "tokenizer", "lamp")
    data = recipe["data"]
    tokenizer = MotionVQVAEModel.from_pretrained(arguments.tokenizer).to(this_process().device)
    processor = LampProcessor.from_pretrained(arguments.lamp)
    model = build(recipe, arguments.lamp).to(this_process().device)
    train_clips, validation_clips = (Clips(arguments.data, split, data) for split in ("train", "val"))
    texts = TextTable(train_clips, load_paraphraser(data))
    source = PairSource(train_clips, model.lamp, tokenizer, processor, data, texts)
    validation = PairSource(validation_clips, model.lamp, tokenizer, processor, data)

    train(
        MatcherObjective(model),
        source,
        recipe,
        arguments.output,
        evaluate=lambda objective: validate(objective.model, validation),
        processor=LampProcessor.from_pretrained(arguments.lamp),  # the one above was set to truncate
    )


if __name__ == "__main__":
    main()
