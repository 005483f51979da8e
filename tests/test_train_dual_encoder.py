"""The plain baseline of LaMP: what it sees, how it is trained, and how it is loaded."""

import json

import numpy as np
import pytest
import torch
from conftest import tiny_lamp
from training_stages import tiny_recipe, train, weights

import lamp_hf
from lamp_hf.models.contrastive import caption_targets
from lamp_hf.models.modeling_lamp import LampModel
from training.data import Clips
from training.train_dual_encoder import DualEncoderConfig, DualEncoderModel, DualEncoderObjective
from training.train_lamp import PairSource


@pytest.fixture(scope="module")
def lamp_of_parts(processor, tmp_path_factory):
    """A folder with a tiny LaMP that nobody trained."""
    folder = tmp_path_factory.mktemp("lamp_of_parts")
    tiny_lamp(processor).save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_the_baseline_trains_validates_and_is_loaded(lamp_of_parts, odd_clips_folder, bert_folder, tmp_path):
    recipe = tiny_recipe(tmp_path, "dual_encoder", bert_folder)
    paths = ("--data", odd_clips_folder, "--lamp", lamp_of_parts, "--output", tmp_path / "run")
    train("dual_encoder", "--recipe", recipe, *paths)
    numbers = json.loads((tmp_path / "run" / "evaluations.jsonl").read_text().splitlines()[-1])
    assert numbers["step"] == 4 and numbers["text_to_motion_R@10"] == numbers["motion_to_text_R@10"] == 100
    model = DualEncoderModel.from_pretrained(tmp_path / "run" / "model")
    assert model.config.latent_size == 8 and model.config.sentence_size == 32
    assert not torch.equal(model.latent_scale, torch.ones(8))  # fitted to the training clips, and saved
    assert torch.equal(weights(tmp_path / "run")["latent_scale"], model.latent_scale)


def test_it_sees_the_captions_and_negatives_of_lamp(lamp_of_parts, humanml3d_folder, processor):
    lamp = LampModel.from_pretrained(lamp_of_parts)
    data = {"skeleton": "humanml3d", "mirrored": False, "rarity_exponent": 0.0, "max_frames": 196}
    source = PairSource(Clips(humanml3d_folder, "train", data), lamp, None, processor, data, num_captions=3)
    batch = source.collate([source.item(i, np.random.default_rng(i)) for i in range(4)])
    assert len(batch["input_ids"]) == 12 and len(batch["latents"]) == 4
    sizes = {"latent_size": 8, "sentence_size": 32, "hidden_size": 8, "projection_dim": 8, "dropout": 0.0}
    model = DualEncoderModel(DualEncoderConfig(**sizes, similar_caption_threshold=1.1))
    alone = DualEncoderObjective(model)(**{name: values[:1] for name, values in batch.items()})[0]
    assert alone.item() == pytest.approx(0)  # one clip has no negative
    inputs = batch["text_states"], batch["attention_mask"].bool()
    sentences = lamp_hf.models.modeling_common.mean_of_words(*inputs)
    alike = {"sentence_embeds": torch.nn.functional.normalize(sentences, dim=-1), "clip_ids": batch["clip_ids"]}
    _, excluded, _, _ = caption_targets(**alike, caption_ids=batch["caption_ids"], threshold=1.1)
    same = batch["caption_ids"][:, None] == batch["caption_ids"]
    other = batch["clip_ids"].repeat_interleave(3)[:, None] != batch["clip_ids"]
    assert torch.equal(excluded, same.unflatten(1, (4, 3)).any(-1) & other)


def test_a_clip_of_several_captions_has_all_of_them_as_right_answers():
    sentences = torch.nn.functional.normalize(torch.tensor([[1.0, 0], [0.6, 0.8], [1, 0.1], [0, 1]]), dim=-1)
    right, excluded, back, excluded_back = caption_targets(
        sentences, torch.tensor([7, 9]), torch.tensor([0, 1, 2, 3]), threshold=0.9
    )
    assert right.tolist() == [[1, 0], [1, 0], [0, 1], [0, 1]]
    # The first caption is like the third, which is the other clip's; the second and the fourth are like none.
    assert excluded.tolist() == [[False, True], [False, False], [True, False], [False, False]]
    assert back.tolist() == [[0.5, 0.5, 0, 0], [0, 0, 0.5, 0.5]]
    assert excluded_back.tolist() == [[False, False, True, False], [True, False, False, False]]


def test_a_few_pairs_are_learned_by_heart():
    torch.manual_seed(0)
    sizes = {"latent_size": 4, "sentence_size": 8, "hidden_size": 32, "projection_dim": 16, "dropout": 0.0}
    model = DualEncoderModel(DualEncoderConfig(**sizes))
    latents, mask = torch.randn(20, 6, 4), torch.ones(20, 6, dtype=torch.bool)
    pairs = {"text_states": torch.randn(20, 1, 8), "attention_mask": torch.ones(20, 1), "latents": latents}
    pairs |= {"latent_mask": mask, "clip_ids": torch.arange(20), "caption_ids": torch.arange(20)}
    model.fit_scale(latents)
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(150):
        loss, _ = DualEncoderObjective(model)(**pairs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.05
