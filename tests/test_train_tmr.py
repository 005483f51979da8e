"""TMR on LaMP's frozen encoders: its losses, what it learns, and how a run resumes and is loaded."""

import json
import shutil

import pytest
import torch
from torch import nn
from training_stages import assert_same, tiny_recipe, train

from training.recipe import load_recipe
from training.train_tmr import TmrConfig, TmrModel, TmrObjective


SIZES = {"latent_size": 4, "sentence_size": 8, "num_layers": 1, "num_attention_heads": 2}


def new_pairs(clips: int, captions: int = 1) -> dict[str, torch.Tensor]:
    """Return random words and latents, every second clip two tokens shorter than the others."""
    draw = torch.Generator().manual_seed(0)
    mask = torch.arange(6) < torch.tensor([6, 4]).repeat(clips // 2)[:, None]
    return {
        "text_states": torch.randn(clips * captions, 3, 8, generator=draw),
        "attention_mask": torch.ones(clips * captions, 3, dtype=torch.long),
        "latents": torch.randn(clips, 6, 4, generator=draw),
        "latent_mask": mask,
        "clip_ids": torch.arange(clips),
        "caption_ids": torch.arange(clips * captions),
    }


def new_objective(**changes) -> TmrObjective:
    torch.manual_seed(0)
    return TmrObjective(TmrModel(TmrConfig(**SIZES | {"hidden_size": 8, "intermediate_size": 16} | changes)))


def test_it_trains_resumes_validates_and_is_loaded(stage_folder, odd_clips_folder, bert_folder, tmp_path):
    recipe = tiny_recipe(tmp_path, "tmr", bert_folder)
    options = ("--recipe", recipe, "--data", odd_clips_folder, "--lamp", stage_folder("lamp") / "model", "--output")
    train("tmr", *options, tmp_path / "whole")
    numbers = json.loads((tmp_path / "whole" / "evaluations.jsonl").read_text().splitlines()[-1])
    assert numbers["step"] == 4 and numbers["text_to_motion_R@10"] == numbers["motion_to_text_R@10"] == 100
    model = TmrModel.from_pretrained(tmp_path / "whole" / "model")
    assert model.config.latent_size == 8 and model.config.sentence_size == 16
    assert not torch.equal(model.latent_scale, torch.ones(8))  # fitted to the training clips, and saved

    shutil.copytree(tmp_path / "whole", tmp_path / "stopped")
    shutil.rmtree(tmp_path / "stopped" / "model")
    shutil.rmtree(tmp_path / "stopped" / "checkpoints" / "step_00000004")
    train("tmr", *options, tmp_path / "stopped")
    assert_same(tmp_path / "whole", tmp_path / "stopped")  # samples and dropout included


@pytest.mark.parametrize("name", ["small", "base", "kit"])
def test_recipes_weigh_the_losses_as_published(name):
    config = TmrConfig(**load_recipe("tmr", f"{name}/tmr", [])["model"])
    weights = (config.reconstruction_weight, config.divergence_weight, config.embedding_weight)
    assert weights == (1.0, 1e-5, 1e-5)
    assert (config.contrastive_weight, config.temperature) == (0.1, 0.1)
    assert config.similar_caption_threshold == pytest.approx(2 * 0.8 - 1)


def test_the_losses_of_a_batch():
    objective, batch = new_objective(dropout=0.0), new_pairs(4)
    model, mask = objective.model, batch["latent_mask"]
    torch.manual_seed(1)
    loss, logs = objective(**batch)
    torch.manual_seed(1)
    text, motion = model.text(batch["text_states"], mask[:1, :3].expand(4, -1)), model.motion(batch["latents"], mask)
    z_text, z_motion = (own.loc + own.scale * torch.randn_like(own.loc) for own in (text, motion))

    def divergence(mean, deviation, other_mean, other_deviation):
        ratio = (deviation / other_deviation) ** 2
        return ((ratio + ((mean - other_mean) / other_deviation) ** 2 - 1 - ratio.log()) / 2).mean()

    m, t, prior = (motion.loc, motion.scale), (text.loc, text.scale), (torch.zeros(()), torch.ones(()))
    pairs = ((t, m), (m, t), (m, prior), (t, prior))
    expected = {
        "reconstruction": sum(
            nn.functional.smooth_l1_loss(model.decoder(z, mask)[mask], batch["latents"][mask])
            for z in (z_text, z_motion)
        ),
        "divergence": sum(divergence(*left, *right) for left, right in pairs),
        "embedding": nn.functional.smooth_l1_loss(z_text, z_motion),
    }
    logits = nn.functional.cosine_similarity(z_text[:, None], z_motion[None], dim=-1) / 0.1
    alike = nn.functional.normalize(batch["text_states"].mean(1), dim=-1)
    logits[(alike @ alike.T > 0.6) & ~torch.eye(4, dtype=torch.bool)] = -torch.inf
    right = torch.arange(4)
    both_ways = (nn.functional.cross_entropy(each, right) for each in (logits, logits.T))
    expected["contrastive"] = sum(both_ways) / 2
    for name, value in expected.items():
        torch.testing.assert_close(logs[name], value.detach(), msg=name)
    weights = {"reconstruction": 1.0, "divergence": 1e-5, "embedding": 1e-5, "contrastive": 0.1}
    torch.testing.assert_close(loss, sum(weights[name] * value for name, value in expected.items()))


def test_several_captions_of_a_clip_share_its_motion():
    """The same caption three times weighs as much as once, but for the samples."""
    objective, once = new_objective(dropout=0.0), new_pairs(4)
    for encoder in (objective.model.text, objective.model.motion):
        encoder.register_forward_hook(lambda module, inputs, own: torch.distributions.Normal(own.loc, 1e-6))
    thrice = dict(once)
    for name in ("text_states", "attention_mask"):
        thrice[name] = once[name].repeat_interleave(3, 0)
    thrice["caption_ids"] = once["caption_ids"].repeat_interleave(3)
    logs, same = objective(**once)[1], objective(**thrice)[1]
    for name in ("reconstruction", "embedding"):
        torch.testing.assert_close(same[name], logs[name], atol=1e-4, rtol=1e-4, msg=name)


def test_padding_counts_for_nothing():
    objective, batch = new_objective(dropout=0.0), new_pairs(4)
    padded = {"latents": nn.functional.pad(batch["latents"], (0, 0, 0, 5), value=9.0)}
    padded |= {"latent_mask": nn.functional.pad(batch["latent_mask"], (0, 5))}
    losses = []
    for changes in ({}, padded):
        torch.manual_seed(0)
        losses.append(objective(**batch | changes)[0])
    torch.testing.assert_close(*losses)


def test_a_few_pairs_are_learned_by_heart():
    objective = new_objective(hidden_size=32, intermediate_size=64, dropout=0.0)
    model, batch = objective.model, new_pairs(20)
    model.fit_scale([batch["latents"].flatten(0, 1)])
    words, mask = batch["attention_mask"].bool(), batch["latent_mask"]
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3)
    for _ in range(300):
        loss, _ = objective(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad():
        texts = model.embed_texts(batch["text_states"], words)
        scores = model.score(texts, model.embed_motions(batch["latents"], mask))
        drawn = model.text(batch["text_states"], words).mean
        error = model.reconstruction_loss(drawn, model.scaled(batch["latents"]), mask)
        blind = model.reconstruction_loss(torch.zeros_like(drawn), model.scaled(batch["latents"]), mask)
    assert torch.equal(scores.argmax(1), torch.arange(20)) and torch.equal(scores.argmax(0), torch.arange(20))
    assert error < blind / 4  # the text alone tells the motion
