r"""Train the captioner's small language model on sentences about motion.

    lamp-hf train language-model --recipe small/language_model --data mocap.parquet \
        --output runs/language_model --set data.captions=captions.json

The paper uses a pretrained OPT-2.7B instead (see recipes/base/captioner.yaml) and does not need this stage.
"""

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from lamp_hf.data.captions import load_captions

from .augmentation.paraphrase import load_paraphraser
from .command_line import parse_arguments
from .data import Clips, batched
from .loop import Objective, train


class BlockSource:
    """Blocks of sentences in random order, separated by the one token that starts and ends sentences in OPT."""

    def __init__(self, sentences: list[str], tokenizer: PreTrainedTokenizerFast, block_size: int, paraphrase=None):
        self.sentences, self.tokenizer, self.block_size = sentences, tokenizer, block_size
        self.paraphrase = paraphrase
        self.lengths = np.ones(len(sentences), int)
        self.weights = None

    def item(self, index: int, rng: np.random.Generator) -> list[int]:
        ids: list[int] = []
        while len(ids) < self.block_size:
            sentence = self.sentences[index]
            ids += self.tokenizer(self.paraphrase(sentence, rng) if self.paraphrase else sentence)["input_ids"]
            index = rng.integers(len(self.sentences))
        return ids[: self.block_size]

    def collate(self, items: list[list[int]]) -> dict:
        ids = torch.tensor(items)
        return {"input_ids": ids, "labels": ids}


def train_tokenizer(sentences: list[str], vocab_size: int) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer with OPT's special tokens; no text has unknown tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=["<s>", "<pad>", "</s>", "<unk>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(sentences, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="</s> $A", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="</s>", eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )


@torch.no_grad()
def perplexity(model: OPTForCausalLM, tokenizer: PreTrainedTokenizerFast, sentences: list[str]) -> float:
    """Return the perplexity per token of separate sentences, including their end tokens."""
    total, count = 0.0, 0
    for part in batched(sentences, 128):
        ended = [sentence + tokenizer.eos_token for sentence in part]
        batch = tokenizer(ended, padding=True, return_tensors="pt").to(model.device)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        tokens = int((labels[:, 1:] >= 0).sum())
        loss = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        total, count = total + float(loss) * tokens, count + tokens
    return float(np.exp(total / count))


def main(command_line: list[str] | None = None) -> None:
    recipe, arguments = parse_arguments("language_model", __doc__, command_line)
    data = recipe["data"]
    clips, validation = (Clips(arguments.data, split, data) for split in ("train", "val"))
    sentences = clips.distinct_captions()
    others = load_captions(data["captions"]) if data["captions"] else []
    held_out, others = others[::20], sorted(set(others) - set(others[::20]))
    tokenizer = train_tokenizer(sentences + others, data["vocabulary_size"])
    torch.manual_seed(recipe["seed"])
    width = recipe["model"]["hidden_size"]
    special = {"bos_token_id": 2, "eos_token_id": 2, "pad_token_id": 1}
    config = OPTConfig(vocab_size=len(tokenizer), word_embed_proj_dim=width, **special, **recipe["model"])
    model = OPTForCausalLM(config)

    def validate(objective: Objective) -> dict[str, float]:
        numbers = {"perplexity": perplexity(objective.model, tokenizer, validation.distinct_captions())}
        return numbers | ({"perplexity_of_others": perplexity(objective.model, tokenizer, held_out)} if others else {})

    source = BlockSource(sentences + others, tokenizer, data["block_size"], load_paraphraser(data))
    train(Objective(model), source, recipe, arguments.output, validate, tokenizer)


if __name__ == "__main__":
    main()
