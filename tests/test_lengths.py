"""Clips at other lengths, and codes that are wrong on purpose: what a generator is trained on beside real clips."""

import numpy as np
import pytest
import torch
from bodies import PACE, PERIOD, bent, kicking, walking
from conftest import CAPTIONS, residual_text_to_motion, tiny_text_to_motion
from test_metrics import standing
from test_training_clips import load, parquet  # noqa: F401 (a fixture)

from lamp_hf.models.motion_representation import features_to_joints, joints_to_features
from training.augmentation.composition import Composer
from training.augmentation.lengths import (
    CROPPED,
    FINISHED,
    RETIMED,
    TILED,
    TRIMMED,
    Lengthener,
    acceleration,
    differences,
    find_cycles,
    held,
    last_rest,
    resampled,
    smooth_at,
    states_number,
    tiled,
    turn,
)
from training.train_text_to_motion import CodeSource, with_other_codes


def lifting(frames: int = 50) -> np.ndarray:
    """Joints of someone who lifts the left arm and holds it up, over a body that sways a little."""
    joints = standing(frames + 1)
    share = np.clip((np.arange(frames + 1) - 5) / 25, 0, 1)
    return bent(joints, 16, [18, 20], -2.8 * share * share * (3 - 2 * share))


def idling(frames: int = 60) -> np.ndarray:
    joints = standing(frames + 1)
    joints[:, [9, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21], 0] += 0.01 * np.sin(np.arange(frames + 1) / 8)[:, None]
    return joints


WALK, KICK, LIFT, IDLE = (joints_to_features(make()) for make in (walking, kicking, lifting, idling))


def lengthener(*motions: np.ndarray, captions=None, max_frames=196) -> Lengthener:
    return Lengthener(list(motions), captions or [["someone moves"]] * len(motions), np.ones(len(motions)), max_frames)


class TestCycles:
    def test_a_walk_repeats_after_two_steps_or_a_multiple(self):
        cycles = find_cycles(WALK)
        lengths = cycles[:, 1] - cycles[:, 0]
        assert len(cycles) and np.abs((lengths + 10) % PERIOD - 10).max() <= 1  # a twentieth of a cycle is little
        assert (cycles[:, 1] <= len(WALK) - 8).all()

    @pytest.mark.parametrize("motion", [KICK, LIFT], ids=["kick", "lift"])
    def test_a_single_act_between_rests_is_no_cycle(self, motion):
        assert len(find_cycles(motion)) == 0

    def test_one_joint_far_away_is_enough_for_no_cycle(self):
        """The frames are alike on average: one forearm turns by 44 degrees, its wrist by 20 cm, in two steps."""
        joints = walking()
        features = joints_to_features(bent(joints, 18, [20], np.radians(2.2) * np.arange(len(joints))))
        apart, alike = differences(features)
        assert apart[20, 40] < alike
        assert len(find_cycles(features)) == 0


class TestTiled:
    def test_repetitions_go_on_in_space(self):
        joints = features_to_joints(tiled(WALK, 20, 40, 5))
        assert len(joints) == 90 + 5 * 20
        step = np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=-1)
        assert step.mean() == pytest.approx(PACE, rel=0.02) and step.max() < 1.1 * PACE
        assert joints[-1, 0, 2] == pytest.approx(PACE * 189, rel=0.02)

    def test_each_repetition_turns_as_much_as_the_first(self):
        circle = joints_to_features(walking(turning=1.5))
        whole, cycle = turn(circle), turn(circle[30:50])
        assert cycle == pytest.approx(20 * 1.5, abs=1)
        assert turn(tiled(circle, 30, 50, 4)) == pytest.approx(whole + 4 * cycle, abs=1)
        assert lengthener(circle).tile(0, np.random.default_rng(0)) is None  # it would turn farther than it is said to

    def test_a_seam_is_smooth_where_the_cycle_ends_and_not_elsewhere(self):
        original = features_to_joints(WALK)
        for end, smooth in ((40, True), (32, False)):
            assert smooth_at(features_to_joints(tiled(WALK, 20, end, 1)), end, original) == smooth

    def test_clips_are_tiled_up_to_any_length_without_a_jump(self):
        maker, rng = lengthener(WALK), np.random.default_rng(0)
        made = [maker.tile(0, rng) for _ in range(20)]
        lengths = [len(motion) for motion in made if motion is not None]
        assert len(lengths) > 15 and min(lengths) < 120 and 185 < max(lengths) <= 196
        limit = 1.35 * acceleration(features_to_joints(WALK)).max()  # 1.15 times as fast: 1.15 ** 2
        assert all(acceleration(features_to_joints(motion)).max() < limit for motion in made if motion is not None)


class TestOtherLengths:
    def test_a_walk_is_cropped_and_a_kick_is_not(self):
        maker, rng = lengthener(WALK, KICK), np.random.default_rng(0)
        lengths = {len(maker.crop(0, rng)) for _ in range(40)}
        assert min(lengths) >= 30 and max(lengths) <= 81 and len(lengths) > 15
        assert all(maker.crop(1, rng) is None for _ in range(10))

    def test_half_of_the_crops_begin_where_the_clip_does(self):
        maker, rng = lengthener(WALK), np.random.default_rng(0)
        begins = [np.allclose(maker.crop(0, rng)[:10, 1:], WALK[:10, 1:], atol=1e-4) for _ in range(60)]
        assert 0.35 < np.mean(begins) < 0.65

    def test_rests_at_the_ends_are_cut_and_movement_is_not(self):
        resting = np.concatenate([features_to_joints(LIFT)[:1]] * 20 + [features_to_joints(LIFT)[5:]])
        maker, rng = lengthener(joints_to_features(resting), IDLE), np.random.default_rng(0)
        made = [motion for _ in range(40) if (motion := maker.trim(0, rng)) is not None]
        assert made and max(map(len, made)) <= len(resting) - 16 and len({len(motion) for motion in made}) > 5
        reached = [np.ptp(features_to_joints(motion)[:, 20, 1]) for motion in made]  # by the wrist that is lifted
        assert min(reached) > np.ptp(resting[:, 20, 1]) - 0.1
        assert all(maker.trim(1, rng) is None for _ in range(10))  # standing has no movement to keep

    def test_half_and_full_speed(self):
        assert len(resampled(walking(80), 0.5)) == 161
        np.testing.assert_allclose(resampled(walking(80), 1.0), walking(80), atol=1e-6)
        lengths = [len(lengthener(WALK).retime(0, np.random.default_rng(seed))) for seed in range(30)]
        assert 78 <= min(lengths) < 82 and 98 < max(lengths) <= 105  # 90 frames / 1.15 and / 0.85

    def test_a_clip_comes_to_rest_where_it_is_slow_but_not_in_the_air_or_at_speed(self):
        joints = features_to_joints(LIFT)
        assert last_rest(joints) == 49
        assert last_rest(features_to_joints(WALK)) is None
        assert last_rest(joints + [0, 0.3, 0]) is None
        assert last_rest(np.concatenate([joints, joints[::-1][18:36]])) in range(48, 54)  # then the arm comes down

    def test_someone_who_finished_stands_on_with_a_sway(self):
        maker, rng = lengthener(LIFT, IDLE), np.random.default_rng(0)
        motion = maker.finish(0, rng)
        joints, before = features_to_joints(motion), features_to_joints(LIFT)
        assert 66 <= len(joints) <= 196
        np.testing.assert_allclose(joints[:49], before[:49], atol=1e-3)
        wrist = joints[50:, 20, 1]
        assert wrist.min() > before[-1, 20, 1] - 0.03  # the arm stays up
        assert 0.005 < np.ptp(joints[:, 15, 0]) < 0.05 and np.ptp(joints[:, 11, 0]) < 0.005  # the head sways, no foot
        assert maker.finish(1, rng) is None  # standing is tiled

    def test_a_clip_that_goes_on_to_another_pose_does_not_finish_before(self):
        joints = features_to_joints(LIFT)
        lowered, begun = (joints_to_features(np.concatenate([joints, joints[::-1][18:end]])) for end in (38, 24))
        assert lengthener(lowered).finish(0, np.random.default_rng(0)) is None
        assert lengthener(begun).finish(0, np.random.default_rng(0)) is not None

    def test_the_last_velocity_fades(self):
        joints = np.repeat(standing(5)[:1], 5, 0) + 0.01 * np.arange(5)[:, None, None]
        after = held(joints, 40, None, np.random.default_rng(0)) - joints[-1]
        assert after[0, 0, 0] == pytest.approx(0.0085, abs=1e-4) and after[-1, 0, 0] == pytest.approx(0.03, abs=1e-4)

    def test_the_same_clips_for_the_same_seed_of_all_kinds(self):
        maker = lengthener(WALK, KICK, LIFT, IDLE, max_frames=120)
        made, again = list(maker(20, 3)), list(maker(20, 3))
        assert [clip.kind for clip in made] == [CROPPED] * 5 + [TILED] * 5 + [FINISHED] * 4 + [TRIMMED] * 4 + [
            RETIMED
        ] * 2
        assert all(np.array_equal(one.motion, other.motion) for one, other in zip(made, again, strict=True))
        assert max(len(clip.motion) for clip in made) <= 120
        assert {clip.source for clip in made if clip.kind == TILED} <= {0, 3}


class TestCaptions:
    @pytest.mark.parametrize(
        "caption",
        ["walks four steps", "A person walks 2.3 metres.", "he waves twice", "runs for about 9 meters", "two kicks",
         "waits for a few seconds", "turns ninety degrees", "waves her arm for a while.", "makes one jump"],
    )  # fmt: skip
    def test_numbers_do_not_hold_at_another_length(self, caption):
        assert states_number(caption)

    @pytest.mark.parametrize("caption", ["waves one hand", "lifts the two arms", "a person walks while waving"])
    def test_sides_of_the_body_do(self, caption):
        assert not states_number(caption)

    def test_clips_whose_captions_all_state_numbers_are_not_used(self):
        texts = [["walks two metres", "walks on"], ["kicks once"]]
        made = list(lengthener(WALK, KICK, captions=texts)(8, 0))
        assert {clip.source for clip in made} == {0} and {tuple(clip.captions) for clip in made} == {("walks on",)}
        with pytest.raises(ValueError, match="all captions state numbers"):
            lengthener(KICK, captions=[["kicks once"]])


class TestClips:
    def test_lengthened_clips_keep_their_labels_and_are_marked(self, parquet):  # noqa: F811
        clips = load(parquet)
        clips.lengthen(4, seed=0)
        assert clips.natural_length == [True] * 3 + [False] * 4
        assert len(clips) == len(clips.lengths) == len(clips.names) == 7
        for row in range(3, 7):
            source = clips.names.index(clips.names[row].split(",")[0])
            assert clips.captions[row] == clips.captions[source]
            assert (clips.actions[row], clips.families[row]) == (clips.actions[source], clips.families[source])

    def test_clips_are_composed_of_real_ones_only(self, parquet, monkeypatch):  # noqa: F811
        clips, counts = load(parquet), []
        clips.lengthen(4, seed=0)
        monkeypatch.setattr(Composer, "__call__", lambda composer, *_: counts.append(len(composer.joints)) or [])
        clips.compose(1, seed=0)
        assert counts == [3]


def test_the_length_predictor_learns_from_natural_lengths_only(processor):
    model = tiny_text_to_motion(processor)
    codes = torch.randint(32, (3, 9))
    inputs = {"codes": codes, "labels": codes, "token_mask": torch.arange(9) < torch.tensor([[9], [4], [6]])}
    inputs |= processor(text=CAPTIONS[:3])
    with torch.no_grad():
        masked = model(**inputs, length_mask=torch.tensor([True, False, True]))
        rows = masked.length_logits.log_softmax(-1)
        assert masked.length_loss.item() == pytest.approx(-(rows[0, 8] + rows[2, 5]).item() / 2, rel=1e-5)
        assert model(**inputs, length_mask=torch.zeros(3, dtype=torch.bool)).length_loss == 0
        whole = -(rows[0, 8] + rows[1, 3] + rows[2, 5]).item() / 3
        assert model(**inputs).length_loss.item() == pytest.approx(whole, rel=1e-5)


class TestCorruption:
    def test_other_codes_in_a_share_of_the_places_up_to_the_greatest(self):
        codes, rng = torch.arange(200) % 32, np.random.default_rng(0)
        places = torch.arange(200) < 100
        shares = []
        for _ in range(300):
            other = with_other_codes(codes, places, 0.4, 32, rng)
            assert torch.equal(other[100:], codes[100:]) and other.min() >= 0 and other.max() < 32
            shares.append((other != codes).sum().item() / 100)
        expected = np.random.default_rng(0)
        expected.permutation(100)
        assert shares[0] == round(expected.uniform(0, 0.4) * 100) / 100
        assert max(shares) <= 0.4 and np.mean(shares) == pytest.approx(0.2, abs=0.02)
        assert with_other_codes(codes, places, 0.0, 32, rng) is codes

    def source(self, processor, clips, **shares) -> CodeSource:
        data = {"max_frames": 196, "rarity_exponent": 0.0} | shares
        return CodeSource(clips, residual_text_to_motion(processor), processor, data)

    def test_what_is_to_be_predicted_stays_true(self, processor, parquet):  # noqa: F811
        clips = load(parquet)
        true, wrong = (
            self.source(processor, clips, corrupted_tokens=share, corrupted_base_codes=share) for share in (0.0, 1.0)
        )
        for seed in range(20):
            one, other = (source.item(0, np.random.default_rng(seed)) for source in (true, wrong))
            level = other["level"]
            assert torch.equal(other["labels"], one["labels"])
            assert torch.equal(other["codes"] == 32, one["codes"] == 32)  # no mask more, none less
            assert torch.equal(other["all"][:, level:], one["all"][:, level:])
            again = wrong.item(0, np.random.default_rng(seed))
            assert all(torch.equal(other[name], again[name]) for name in ("all", "codes", "labels"))
        changed = [wrong.item(0, np.random.default_rng(seed)) for seed in range(20)]
        clean = [true.item(0, np.random.default_rng(seed)) for seed in range(20)]
        for name in ("all", "codes"):
            assert any((one[name] != other[name]).any() for one, other in zip(changed, clean))

    def test_batches_say_whose_length_is_natural(self, processor, parquet):  # noqa: F811
        clips = load(parquet)
        clips.lengthen(1, seed=0)
        source, rng = self.source(processor, clips), np.random.default_rng(0)
        assert source.collate([source.item(0, rng), source.item(3, rng)])["length_mask"].tolist() == [True, False]
