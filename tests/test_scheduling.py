"""Masked decoding: how clips are corrupted for training and settled step by step."""

import math

import pytest
import torch

import lamp_hf
from lamp_hf.models.scheduling_masked_motion import _gumbel_noise


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


def scheduler_of(num_steps: int, mask_token_id: int = 32) -> lamp_hf.MaskedMotionScheduler:
    scheduler = lamp_hf.MaskedMotionScheduler(mask_token_id=mask_token_id)
    scheduler.set_timesteps(num_steps)
    return scheduler


def generators(*seeds: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(seed) for seed in seeds]


class TestSchedule:
    def test_steps_are_numbered_from_zero(self):
        assert scheduler_of(4).timesteps.tolist() == [0, 1, 2, 3]

    def test_the_share_of_masks_falls_as_a_cosine(self):
        shares = lamp_hf.MaskedMotionScheduler.mask_ratio(torch.tensor([0.0, 1 / 3, 0.5, 1.0]))
        torch.testing.assert_close(shares, torch.tensor([1.0, 0.75**0.5, 0.5**0.5, 0.0]), atol=1e-6, rtol=0)
        counts = [scheduler_of(4).still_masked(step, torch.tensor([10, 100])).tolist() for step in range(5)]
        assert counts == [[10, 100], [9, 92], [7, 71], [4, 38], [0, 0]]

    @pytest.mark.parametrize("length", [5, 20, 49])
    def test_the_released_schedule_has_one_step_more_which_draws_a_token_again(self, length):
        released = [max(1, round(math.cos(math.pi * t / 2) * length)) for t in torch.linspace(0, 1, 10).tolist()]
        masked = [scheduler_of(9).still_masked(step, torch.tensor([length])).item() for step in range(9)]
        assert released == [*masked, 1]

    def test_a_short_clip_settles_no_token_in_some_steps(self):
        scheduler, counts = scheduler_of(6), torch.tensor([1, 2, 12])
        settles = [scheduler.settles(i, scheduler.still_masked(i, counts), counts).tolist() for i in range(6)]
        assert [sum(column) for column in zip(*settles)] == [1, 2, 5]
        assert settles[0] == [False, False, False] and settles[5] == [False, True, True]

    def test_a_step_settles_what_was_masked_again_since_the_last(self):
        counts, again = torch.tensor([1, 1]), torch.tensor([0, 1])
        assert scheduler_of(6).settles(5, again, counts).tolist() == [False, True]

    def test_guidance_lasts_from_the_beginning_of_its_interval_to_before_its_end(self):
        scheduler = scheduler_of(10)
        assert [scheduler.guidance(step, 4.0) for step in range(10)] == [4.0] * 10
        guided = [scheduler.guidance(step, 4.0, (0.2, 0.8)) for step in range(10)]
        assert guided == [1.0] * 2 + [4.0] * 6 + [1.0] * 2


class TestCorruption:
    def test_at_least_one_token_is_asked_for_and_ten_percent_become_another_code(self):
        scheduler, (generator,) = scheduler_of(1, mask_token_id=512), generators(0)
        asked = [int((scheduler.add_noise(torch.arange(3), generator)[1] != -100).sum()) for _ in range(50)]
        assert set(asked) == {1, 2, 3}
        assert all((scheduler.add_noise(torch.tensor([7]), generator)[1] == 7).all() for _ in range(50))
        codes, other, asked = torch.full((400,), 7), 0, 0
        for _ in range(100):
            corrupted, labels = scheduler.add_noise(codes, generator)
            assert corrupted.min() >= 0 and corrupted.max() <= 512
            other += int(((corrupted != 7) & (corrupted != 512)).sum())
            asked += int((labels != -100).sum())
        assert abs(other / asked - 0.1) < 0.01

    def test_the_generator_decides_all(self):
        first, again, other = (
            scheduler_of(1).add_noise(torch.arange(30), generator)[0] for generator in generators(0, 0, 1)
        )
        assert torch.equal(first, again) and not torch.equal(first, other)


class TestStep:
    """A step draws every masked token, keeps the surest and masks the others again."""

    def certain_logits(self, length: int) -> torch.Tensor:
        """Logits whose best code at position i is i, the surer the later."""
        return torch.eye(length, 32)[None] * torch.arange(1.0, length + 1)[:, None]

    def test_without_temperature_the_likeliest_codes_are_drawn_and_the_surest_kept(self):
        sample, mask = torch.full((1, 10), 32), torch.ones(1, 10, dtype=torch.bool)
        output = scheduler_of(4).step(self.certain_logits(10), 1, sample, mask, generators(0), temperature=0)
        assert output.pred_original_sample.tolist() == [list(range(10))]
        assert output.prev_sample.tolist() == [[32] * 7 + [7, 8, 9]]

    def test_tokens_that_are_given_stay_and_do_not_count(self):
        sample, mask = torch.full((1, 10), 32), torch.ones(1, 10, dtype=torch.bool)
        sample[0, :5] = 20
        options = {"temperature": 0, "num_masked": torch.tensor([5])}
        output = scheduler_of(4).step(self.certain_logits(10), 1, sample, mask, generators(0), **options)
        assert output.prev_sample.tolist() == [[20] * 5 + [32] * 4 + [9]]

    def test_padding_is_not_counted(self):
        sample, mask = torch.full((2, 10), 32), torch.arange(10) < torch.tensor([[10], [4]])
        logits = self.certain_logits(10).expand(2, -1, -1)
        output = scheduler_of(4).step(logits, 1, sample, mask, generators(0, 1), temperature=0)
        assert (output.prev_sample == 32).sum(1).tolist() == [7, 3]
        assert output.prev_sample[1, :4].tolist() == [32, 32, 32, 3]

    @pytest.mark.parametrize("temperature", [0.5, 2.0])
    def test_codes_are_drawn_from_the_softmax_of_logits_over_the_temperature(self, temperature):
        logits = torch.tensor([2.0, 0.0, 1.0]).expand(1, 4000, 3)
        sample, mask = torch.full((1, 4000), 3), torch.ones(1, 4000, dtype=torch.bool)
        scheduler = scheduler_of(1, mask_token_id=3)
        drawn = scheduler.step(logits, 0, sample, mask, generators(0), temperature).prev_sample
        shares = torch.bincount(drawn[0], minlength=3) / 4000
        torch.testing.assert_close(shares, (logits[0, 0] / temperature).softmax(-1), atol=0.025, rtol=0)
        usual = scheduler.step(logits * temperature, 0, sample, mask, generators(0), 1.0)
        by_default = scheduler.step(logits * temperature, 0, sample, mask, generators(0))
        assert torch.equal(by_default.prev_sample, usual.prev_sample)
        drawn = scheduler.step(logits, 0, sample, mask, generators(0), temperature, top_k=2).prev_sample
        shares = torch.bincount(drawn[0], minlength=3) / 4000
        expected = torch.tensor([2.0, -torch.inf, 1.0]).div(temperature).softmax(-1)
        torch.testing.assert_close(shares, expected, atol=0.025, rtol=0)

    def test_more_candidates_than_codes_are_all_codes(self):
        logits = torch.randn(1, 10, 32, generator=generators(0)[0])
        sample, mask = torch.full((1, 10), 32), torch.ones(1, 10, dtype=torch.bool)
        drawn = [
            scheduler_of(2).step(logits, 0, sample, mask, generators(1), top_k=top_k).prev_sample
            for top_k in (None, 32, 99)
        ]
        assert torch.equal(drawn[0], drawn[1]) and torch.equal(drawn[0], drawn[2])

    def test_a_sample_does_not_depend_on_its_neighbours(self):
        logits = torch.randn(2, 10, 32, generator=generators(0)[0])
        sample, mask = torch.full((2, 10), 32), torch.arange(10) < torch.tensor([[10], [6]])
        options = {"top_k": 8, "choice_temperature": 3.0}
        both = scheduler_of(4).step(logits, 1, sample, mask, generators(1, 2), **options)
        alone = scheduler_of(4).step(logits[1:, :6], 1, sample[1:, :6], mask[1:, :6], generators(2), **options)
        assert torch.equal(both.prev_sample[1, :6], alone.prev_sample[0])

    @pytest.mark.parametrize("step", [0, 3])
    def test_the_same_noise_at_any_length(self, step):
        """The first 20 tokens draw the same codes and are settled in the same order, whatever follows."""
        logits = torch.zeros(1, 49, 32)
        outputs = []
        for length in (30, 49):
            sample, mask = torch.full((1, length), 32), torch.ones(1, length, dtype=torch.bool)
            scheduler, stream = scheduler_of(10), generators(7)
            for earlier in range(step if length == 49 else 0):  # what was drawn before does not matter either
                scheduler.step(logits[:, :length], earlier, sample, mask, stream)
            outputs.append(scheduler.step(logits[:, :length], step, sample, mask, stream).pred_original_sample[0])
        short, long = outputs
        assert torch.equal(short[:20], long[:20]) and len(short[:20].unique()) > 8
        noises = [
            _gumbel_noise(logits[:, :n], torch.ones(1, n, dtype=torch.bool), generators(7), step) for n in (30, 49)
        ]
        for one, other in zip(*noises, strict=True):
            assert torch.equal(one[:, :20], other[:, :20])
        codes, order = noises[0]
        assert (codes[0, 0] != codes[0, 1]).all() and order.shape == (1, 30, 1)

    def test_other_steps_and_other_seeds_have_other_noise(self):
        mask, logits = torch.ones(1, 8, dtype=torch.bool), torch.zeros(1, 8, 32)
        drawn = [_gumbel_noise(logits, mask, generators(seed), step)[0] for seed, step in ((0, 0), (0, 1), (1, 0))]
        assert all((drawn[i] != drawn[j]).float().mean() > 0.99 for i, j in ((0, 1), (0, 2), (1, 2)))

    def test_tokens_are_settled_in_random_order_at_a_high_choice_temperature(self):
        sample, mask = torch.full((1, 10), 32), torch.ones(1, 10, dtype=torch.bool)
        kept = torch.zeros(10)
        for seed in range(200):
            output = scheduler_of(4).step(
                self.certain_logits(10), 1, sample, mask, generators(seed), temperature=0, choice_temperature=1e4
            )
            kept += output.prev_sample[0] != 32
        assert kept.sum() == 600 and kept.min() > 30  # 60 on average, whatever the certainty

    @pytest.mark.parametrize(("num_steps", "step", "noise"), [(2, 0, 1 / 2), (3, 1, 1 / 3)])
    def test_noise_on_the_order_is_annealed_to_nothing_at_the_last_step(self, num_steps, step, noise):
        """One of two tokens is settled: the surer one with the probability that scaled Gumbel noise gives it."""
        count = 2000
        logits = torch.tensor([[0.0, 0.0], [2.0, 0.0]]).expand(count, -1, -1)
        sample, mask = torch.full((count, 2), 2), torch.ones(count, 2, dtype=torch.bool)
        output = scheduler_of(num_steps, mask_token_id=2).step(
            logits, step, sample, mask, generators(*range(count)), temperature=0, choice_temperature=0.9
        )
        settled = output.prev_sample != 2
        assert (settled.sum(1) == 1).all()
        gap = torch.log(torch.sigmoid(torch.tensor(2.0)) / 0.5)
        expected = torch.sigmoid(gap / (0.9 * noise)).item()
        assert settled[:, 1].float().mean().item() == pytest.approx(expected, abs=0.03)

    def test_every_sample_needs_a_generator(self):
        sample, mask = torch.full((2, 4), 32), torch.ones(2, 4, dtype=torch.bool)
        with pytest.raises(ValueError, match="zip"):
            scheduler_of(2).step(torch.zeros(2, 4, 32), 0, sample, mask, generators(0))
