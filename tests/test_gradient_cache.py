"""Batches in parts: losses that compare rows compare those of all parts, and have the gradients of the whole batch."""

import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from test_lamp_pretraining import new_batch, new_model
from test_lavimo import new_model as new_lavimo
from torch import nn

from training.gradient_cache import join, losses_of_parts, part_rows
from training.train_dual_encoder import DualEncoderConfig, DualEncoderModel, DualEncoderObjective
from training.train_lamp import LampObjective
from training.train_lavimo import LavimoObjective


CLIPS, PARTS = 8, 4


def gradients(objective, parts: list[dict]) -> dict[str, torch.Tensor]:
    """Return the loss and the gradients of a batch in parts, as the training loop computes them."""
    objective.zero_grad(set_to_none=True)
    if len(parts) == 1:
        losses = [objective(**parts[0])]
    else:
        AcceleratorState._reset_state(reset_partial_state=True)
        losses = losses_of_parts(Accelerator(cpu=True), objective, objective, parts)
    total = 0.0
    for loss, _ in losses:
        (loss / len(parts)).backward()
        total += loss.detach() / len(parts)
    trained = {name: weight.grad for name, weight in objective.named_parameters() if weight.grad is not None}
    return trained | {"loss": total}


def lamp(processor, *objectives: str, dropout: float = 0.0):
    return LampObjective(new_model(processor, *objectives, dropout=dropout).train())


def dual_encoder(processor):
    torch.manual_seed(0)
    config = DualEncoderConfig(latent_size=8, sentence_size=32, hidden_size=8, projection_dim=8, dropout=0.0)
    return DualEncoderObjective(DualEncoderModel(config).train())


def split(batch: dict) -> list[dict]:
    """Cut a batch of LaMP's into parts, each padded to its own longest text."""
    parts = []
    for number in range(PARTS):
        part = {name: values.unflatten(0, (PARTS, -1))[number] for name, values in batch.items()}
        longest = int(part["attention_mask"].sum(1).max())
        part |= {name: part[name][:, :longest] for name in ("input_ids", "attention_mask", "text_states")}
        parts.append(part)
    return parts


def assert_equal(found: dict, wanted: dict) -> None:
    assert found.keys() == wanted.keys() and len(wanted) > 5
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize(
    "new", [lambda p: lamp(p, "contrastive", "decorrelation"), dual_encoder], ids=["lamp", "dual"]
)
def test_parts_have_the_loss_and_gradients_of_the_whole_batch(new, processor):
    objective, batch = new(processor), new_batch(processor, CLIPS, 2)
    batch["attention_mask"][8:, 5:] = 0  # parts differ in length
    batch["caption_ids"][9] = batch["caption_ids"][2]  # excluded across the parts
    assert_equal(gradients(objective, split(batch)), gradients(objective, [batch]))


def test_losses_of_single_pairs_are_averaged_over_the_parts(processor):
    objective = lamp(processor, "reconstruction", "text_generation")
    parts = split(new_batch(processor, CLIPS, 2))
    apart = [gradients(objective, [part]) for part in parts]
    mean = {name: sum(found[name] for found in apart) / PARTS for name in apart[0]}
    assert_equal(gradients(objective, parts), mean)


@pytest.mark.parametrize("target", ["identity", "soft"])
def test_lavimo_compares_texts_and_motions_of_all_parts(target):
    model = new_lavimo(use_video=False, target=target, reconstruction_weight=0.0).train()
    draw = torch.Generator().manual_seed(0)
    batch = {
        "input_ids": torch.randint(1, 30, (CLIPS, 7), generator=draw),
        "attention_mask": torch.ones(CLIPS, 7, dtype=torch.bool),
        "motion_values": torch.randn(CLIPS, 12, 263, generator=draw),
        "motion_attention_mask": torch.ones(CLIPS, 12, dtype=torch.bool),
        "clip_ids": torch.arange(CLIPS),
        "caption_ids": torch.tensor([0, 1, 2, 3, 0, 4, 5, 6]),
        "sentence_embeds": nn.functional.normalize(torch.randn(CLIPS, 4, generator=draw), dim=-1),
    }
    parts = [
        {name: values.unflatten(0, (PARTS, -1))[number] for name, values in batch.items()} for number in range(PARTS)
    ]
    objective = LavimoObjective(model)
    assert_equal(gradients(objective, parts), gradients(objective, [batch]))


def test_a_part_is_embedded_with_the_same_dropout_both_times(processor):
    objective, seen = lamp(processor, "contrastive", dropout=0.5), []
    embed = objective.embed
    objective.embed = lambda **batch: seen.append(embed(**batch)) or seen[-1]
    gradients(objective, split(new_batch(processor, CLIPS, 2)))
    for (first, _), (second, _) in zip(seen[:PARTS], seen[PARTS:], strict=True):
        for name, values in first.items():
            torch.testing.assert_close(values, second[name], atol=1e-5, rtol=1e-5, msg=name)
    assert not torch.equal(seen[0][0]["motion_embeds"], seen[1][0]["motion_embeds"])


def test_parts_of_other_lengths_are_joined_and_cut():
    parts = [torch.ones(2, 3, 4), torch.ones(1, 5, 4)]
    joined = join(parts)
    assert joined.shape == (3, 5, 4) and joined.sum() == 44
    for piece, part in zip(part_rows(joined, parts), parts):
        assert torch.equal(piece, part)
