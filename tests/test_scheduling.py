"""Masked decoding: how clips are corrupted for training and settled step by step."""

import torch

import lamp_hf


def test_corruption_keeps_the_shares():
    scheduler = lamp_hf.MaskedMotionScheduler(mask_token_id=512)
    generator = torch.Generator().manual_seed(0)
    codes = torch.arange(400)
    kinds = torch.zeros(3)  # masked, left as they are, asked for
    for _ in range(100):
        corrupted, labels = scheduler.add_noise(codes, generator)
        asked = labels != -100
        assert torch.equal(corrupted[~asked], codes[~asked]) and torch.equal(labels[asked], codes[asked])
        kinds += torch.stack([(corrupted[asked] == 512).sum(), (corrupted == codes)[asked].sum(), asked.sum()])
    assert abs(kinds[0] / kinds[2] - 0.8) < 0.02 and abs(kinds[1] / kinds[2] - 0.1) < 0.02
    assert abs(kinds[2] / 40000 - 2 / torch.pi) < 0.07  # the mean of the cosine


def test_fewer_masks_at_every_step_and_none_at_the_end():
    scheduler = lamp_hf.MaskedMotionScheduler(mask_token_id=32)
    scheduler.set_timesteps(5)
    sample = torch.full((1, 20), 32)
    mask = torch.ones(1, 20, dtype=torch.bool)
    counts = []
    for timestep in scheduler.timesteps.tolist():
        logits = torch.randn(1, 20, 32)
        generators = [torch.Generator().manual_seed(timestep)]
        kept = sample.clone()
        sample = scheduler.step(logits, timestep, sample, mask, generators, top_k=5).prev_sample
        assert torch.equal(sample[kept != 32], kept[kept != 32])
        counts.append(int((sample == 32).sum()))
    assert counts == sorted(counts, reverse=True) and counts[-1] == 0
