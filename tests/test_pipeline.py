"""The text-to-motion pipeline: calls, batches, sequences, streams, edits and refusals."""

import numpy as np
import pytest
import torch
from conftest import make_motion
from transformers import pipeline

import lamp_hf
from lamp_hf.metrics.geometry import facing_angles, measure
from lamp_hf.models.motion_inbetweening import _blend
from lamp_hf.models.windowed_generation import cut_at_tokens


@pytest.fixture(scope="module")
def pipe(model_folder):
    return pipeline("text-to-motion", model=str(model_folder))


def test_a_text_gives_joints_features_fps_and_text(pipe):
    made = pipe("a person walks", duration=4.0, seed=0)
    assert set(made) == {"joints", "features", "fps", "skeleton", "text", "seed", "familiarity", "nearest"}
    assert made["joints"].shape == (80, 22, 3) and made["joints"].dtype == np.float32
    assert made["features"].shape == (80, 263) and made["features"].dtype == np.float32
    assert made["fps"] == 20.0 and made["text"] == "a person walks" and made["seed"] == 0
    np.testing.assert_allclose(lamp_hf.features_to_joints(made["features"]), made["joints"], atol=1e-5)


def test_same_seed_same_motion_alone_and_in_any_batch(pipe):
    alone = pipe("she bows", duration=3.0, seed=7)["joints"]
    batch = pipe(["a person walks", "she bows", "a man"], duration=[1.0, 3.0, None], seed=[1, 7, 3], batch_size=3)
    np.testing.assert_allclose(batch[1]["joints"], alone, atol=1e-5)
    np.testing.assert_allclose(pipe(["she bows"] * 3, duration=3.0, seed=7)[2]["joints"], alone, atol=1e-5)
    assert not np.allclose(pipe("she bows", duration=3.0, seed=8)["joints"], alone)


def test_several_sequences_have_the_seeds_that_follow(pipe):
    several = pipe("she bows", duration=2.0, seed=3, num_return_sequences=2)
    np.testing.assert_allclose(several[1]["joints"], pipe("she bows", duration=2.0, seed=4)["joints"], atol=1e-5)
    one_by_one = pipe(["she bows"] * 2, duration=np.full(2, 2.0), seed=np.arange(3, 5))
    np.testing.assert_allclose(one_by_one[1]["joints"], several[1]["joints"], atol=1e-5)
    nested = pipe(["she bows", "a man"], duration=2.0, seed=3, num_return_sequences=2)
    assert [len(motions) for motions in nested] == [2, 2] and nested[1][0]["text"] == "a man"


def test_a_stream_of_texts_gives_an_iterator(pipe):
    made = pipe((text for text in ["she bows", "a man"]), duration=1.0)
    assert [motion["text"] for motion in made] == ["she bows", "a man"]


def test_odd_durations_are_met_to_the_frame_and_none_is_predicted(pipe):
    assert len(pipe("she bows", duration=1.15)["joints"]) == 23
    assert len(pipe("she bows", seed=0)["joints"]) % 4 == 0
    assert pipe([]) == []


def test_the_length_of_a_text_has_a_distribution_that_motions_follow(pipe):
    told = pipe.length_distribution("she bows")
    assert told["probability"].sum() == pytest.approx(1) and told["seconds"][[0, -1]].tolist() == [0.2, 9.8]
    made = pipe(["she bows"] * 64, seed=list(range(64)), num_inference_steps=1, batch_size=64)
    seconds = [len(motion["joints"]) / 20 for motion in made]
    possible = told["seconds"][told["probability"] > 0]
    assert possible[0] == pytest.approx(min(seconds), abs=0.4) and possible[-1] == pytest.approx(max(seconds), abs=0.4)
    mean = np.mean(seconds)
    deviation = np.sqrt((told["probability"] * (told["seconds"] - told["probability"] @ told["seconds"]) ** 2).sum())
    assert abs(mean - told["probability"] @ told["seconds"]) < 4 * deviation / 8


def test_bones_keep_their_length_unless_fit_bones_is_off(pipe):
    from lamp_hf.metrics.physics import bone_length_variation

    assert bone_length_variation(pipe("she bows", duration=4.0, seed=0)["joints"]) < 1e-3
    assert bone_length_variation(pipe("she bows", duration=4.0, seed=0, fit_bones=False)["joints"]) > 1e-3


def test_a_sequence_of_texts_makes_one_motion_that_starts_as_the_first_does(pipe):
    made = pipe(["she bows", "a person walks"], mode="sequence", duration=[2.0, 1.5], seed=4)
    assert made["joints"].shape == (70, 22, 3) and made["features"].shape == (70, 263)
    assert made["text"] == "she bows, then a person walks"
    np.testing.assert_allclose(lamp_hf.features_to_joints(made["features"]), made["joints"], atol=1e-4)
    both = pipe(["she bows", "a man"], mode="sequence", duration=1.0, seed=4, num_return_sequences=2)
    assert len(both) == 2 and not np.allclose(both[0]["joints"], both[1]["joints"])


def test_a_sequence_lasts_as_long_as_its_texts_together_and_each_starts_within_three_frames(pipe):
    made = pipe(["she bows"] * 5, mode="sequence", duration=2.05, seed=0, num_inference_steps=1, num_candidates=2)
    assert len(made["joints"]) == 205
    for frames in ([41] * 10, [5, 4, 7, 4], [43, 40, 6], [50]):
        shown = cut_at_tokens(frames, 4)
        assert sum(shown) == sum(frames) and min(shown) >= 4
        starts, wanted = (np.cumsum(lengths)[:-1] for lengths in (shown, frames))
        assert (starts % 4 == 0).all() and np.abs(starts - wanted).max(initial=0) <= 3


def test_the_bundled_model_does_one_thing_after_the_other():
    pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
    texts = ["a person walks forward", "a person waves with the left hand"]
    joints = pipe(texts, mode="sequence", duration=4.0, seed=0)["joints"]
    walk, wave = measure(joints[:76]), measure(joints[80:])  # the last token is the transition
    assert walk.path > 1.5 and not walk.left_rise > 0.3
    assert wave.left_rise > 0.3 > wave.right_rise


@pytest.mark.slow
def test_the_bundled_models_motions_are_the_same_alone_in_a_batch_of_64_streamed_and_on_two_threads():
    pipe = pipeline("text-to-motion", model=lamp_hf.bundled())
    texts = ["a person walks forward", "someone waves with the left hand", "a man turns right", "she bows"] * 16
    durations = [2.0 + 0.1 * (i % 13) for i in range(64)]
    together = pipe(texts, duration=durations, seed=list(range(64)), batch_size=64)
    for i in range(0, 64, 7):
        alone = pipe(texts[i], duration=durations[i], seed=i)["joints"]
        streamed = np.concatenate(list(pipe.stream(texts[i], duration=durations[i], seed=i)))
        threads = torch.get_num_threads()
        torch.set_num_threads(3 - threads if threads < 3 else 1)
        other = pipe(texts[i], duration=durations[i], seed=i)["joints"]
        torch.set_num_threads(threads)
        for made in (alone, streamed, other):
            np.testing.assert_allclose(made, together[i]["joints"], atol=1e-4)


@pytest.mark.parametrize("duration", [0.4, 4.05, 9.8, 31.0, None])
def test_a_stream_gives_what_the_call_gives(pipe, duration):
    whole = pipe("she bows", duration=duration, seed=2)["joints"]
    parts = list(pipe.stream("she bows", duration=duration, seed=2))
    np.testing.assert_allclose(np.concatenate(parts), whole, atol=1e-4)
    if duration is not None:
        assert len(whole) == round(duration * 20)
    assert max(len(part) for part in parts) <= 196  # frames of one window


def test_a_sentence_that_says_an_order_is_a_sequence(pipe):
    whole = pipe("she bows, then walks", mode="sequence", duration=3.0, seed=1)
    parts = pipe(["she bows", "walks"], mode="sequence", duration=[1.4, 1.6], seed=1)
    assert len(whole["joints"]) == 60 and whole["text"] == "she bows, then walks"
    np.testing.assert_allclose(whole["joints"], parts["joints"], atol=1e-5)
    streamed = list(pipe.stream("she bows, then walks", mode="sequence", duration=3.0, seed=1))
    np.testing.assert_allclose(np.concatenate(streamed), whole["joints"], atol=1e-4)
    with pytest.raises(ValueError, match="too short for 2 parts"):
        pipe("she bows, then walks", mode="sequence", duration=0.3)


@pytest.fixture
def seconds_given(pipe, monkeypatch) -> list[tuple[float, float]]:
    """Seconds of given motion that each window starts and ends with."""
    seen, generate_codes = [], pipe.model.generate_codes

    def spied(condition, mask, generators, known_codes, **sampling):
        unknown = (known_codes[0, :, 0] < 0).nonzero()[:, 0]
        tokens = int(unknown[0]), known_codes.shape[1] - 1 - int(unknown[-1])
        seen.append(tuple(pytest.approx(count * pipe.frames_per_token / pipe.fps) for count in tokens))
        return generate_codes(condition, mask, generators, known_codes, **sampling)

    monkeypatch.setattr(pipe.model, "generate_codes", spied)
    return seen


def test_a_window_continues_more_of_the_same_text_than_of_another(pipe, seconds_given):
    pipe(["she bows", "a man"], mode="sequence", duration=[12.0, 12.0], seed=1)
    assert seconds_given == [(0, 0), (1.6, 0), (0.8, 0), (1.6, 0)]


def test_an_edit_sees_a_little_more_than_a_second_of_each_side(pipe, seconds_given):
    motion = make_motion(200).astype(np.float32)
    pipe("she bows", seed=1, motion=motion, keep=[(0, 4), (6, 10)])
    pipe("she bows", seed=1, prefix=motion, suffix=motion, duration=2.0)
    pipe("she bows", seed=1, prefix=motion[:10], duration=2.0)  # of fewer frames, as many as there are
    assert seconds_given == [(1.2, 1.2), (1.2, 1.2), (0.4, 0)]


def test_ten_frames_at_each_transition_go_on_from_the_kept_ones_and_fade_to_the_decoded_ones(pipe):
    """A kept joint at rest 10 cm from one that is decoded to move at 1 cm a frame goes on at rest and catches up."""
    skeleton = pipe.skeleton
    joint, contacts = skeleton.slices["positions"].start, skeleton.slices["contacts"]
    decoded, kept = torch.zeros(26, 263), torch.ones(5, 263)
    decoded[:, joint], kept[:, joint] = 0.01 * torch.arange(26.0), -0.1
    left, right = _blend(decoded, kept, None, skeleton), _blend(decoded.flip(0), None, kept, skeleton)
    torch.testing.assert_close(left, right.flip(0))
    assert torch.equal(left[10:], decoded[11:25]) and (left[:, contacts] == 0).all()
    path = torch.cat([kept[:, joint], left[:, joint]])
    bends = path.diff(n=2).abs()
    assert abs(path[5] - path[4]) < 0.006 and bends.max() < 0.01  # a straight fade bends by 0.02 at the transition
    turning = skeleton.slices["root_yaw"].start  # speeds fade too, without what goes on
    time = torch.arange(1, 11) / 11
    torch.testing.assert_close(left[:10, turning], (1 - time) ** 2 * (1 + 2 * time))


def test_parts_of_a_text_share_its_duration(pipe):
    four = "she bows, then walks, then jumps, then runs"
    parts = ["she bows", "walks", "jumps", "runs"]
    for seconds, shares in ((3.0, [12, 16, 16, 16]), (3.1, [12, 16, 16, 18])):
        (request,) = pipe._requests(four, seconds, 0, 1, "sequence")
        assert (request.texts, request.num_frames) == (parts, shares)


def test_long_and_short_motions_may_be_asked_for_together(pipe):
    made = pipe(["she bows", "a man", "a person walks"], duration=[1.0, 12.0, None], seed=1)
    assert [len(motion["joints"]) for motion in made[:2]] == [20, 240]
    np.testing.assert_allclose(made[1]["joints"], pipe("a man", duration=12.0, seed=1)["joints"], atol=1e-4)
    streamed = pipe((text for text in ["she bows"]), duration=12.0, seed=1)
    assert [len(motion["joints"]) for motion in streamed] == [240]


@pytest.mark.parametrize(("text", "seed"), [(" ", 0), ("she bows", -1), (["she bows", ""], 0), ("she bows", [1, 2])])
def test_a_stream_that_cannot_be_made_is_refused_before_the_first_frame(pipe, text, seed):
    with pytest.raises(ValueError):
        pipe.stream(text, duration=2.0, seed=seed)


def test_ten_minutes_stream_in_parts_of_similar_size(pipe):
    sizes = [len(joints) for joints in pipe.stream("she bows", duration=600.0, seed=0, num_inference_steps=1)]
    assert sum(sizes) == 12_000 and max(sizes) <= 300


class TestEditing:
    """Given frames stay as they are; generated ones fit to them."""

    def test_a_prefix_and_a_suffix_stay_and_the_gap_is_made(self, pipe):
        before, after = (make_motion(n, seed=n).astype(np.float32) for n in (45, 30))
        made = pipe("she bows", duration=2.0, seed=0, prefix=before, suffix=after)
        joints = made["joints"]
        assert joints.shape == (45 + 40 + 30, 22, 3) and made["features"].shape == (115, 263)
        np.testing.assert_allclose(joints[:45], before, atol=1e-5)
        # The suffix is moved over the ground and turned, nothing else.
        distances = [np.linalg.norm(clip[:, :, None] - clip[:, None], axis=-1) for clip in (joints[85:], after)]
        np.testing.assert_allclose(*distances, atol=1e-4)
        np.testing.assert_allclose(joints[85:, :, 1], after[:, :, 1], atol=1e-5)
        bones = [np.linalg.norm(joints[:, 5] - joints[:, 2], axis=-1)[frames] for frames in (40, 60)]
        assert bones[0] == pytest.approx(bones[1], abs=2e-3)  # the made body is the given one

    @pytest.mark.parametrize("side", ["prefix", "suffix"])
    def test_one_side_is_enough(self, pipe, side):
        given = make_motion(30, facing=2.0).astype(np.float32)
        joints = pipe("she bows", duration=1.5, seed=0, **{side: lamp_hf.Motion(given)})["joints"]
        kept = joints[:30] if side == "prefix" else joints[30:]
        assert len(joints) == 60
        np.testing.assert_allclose(kept, given, atol=1e-5)
        step = np.linalg.norm(joints[30, 0] - joints[29, 0])
        assert step < 0.3

    def test_the_path_rises_to_a_higher_suffix(self, pipe):
        walk = make_motion(40).astype(np.float32)
        made = pipe("she bows", prefix=walk, suffix=walk + [0, 0.5, 0], duration=2.0, seed=0)["joints"]
        np.testing.assert_allclose(made[-40:, :, 1], walk[..., 1] + 0.5, atol=1e-4)
        steps = np.abs(np.diff(made[:, 0, 1]))
        assert steps[78:81].max() < 0.05  # metres, where 0.5 were

    def test_the_transition_to_a_side_of_few_frames_is_smooth(self, pipe):
        walk = make_motion(60, seed=3).astype(np.float32)
        whole, few = (pipe("she bows", prefix=walk[-n:], duration=2.0, seed=0)["joints"] for n in (40, 3))
        jumps = [
            np.linalg.norm(np.diff(made - made[:, :1], axis=0), axis=-1).max(-1)[n - 1]
            for made, n in ((whole, 40), (few, 3))
        ]
        assert jumps[1] < 1.5 * jumps[0] + 0.02

    def test_kept_ranges_stay_where_they_are(self, pipe):
        motion = make_motion(100, facing=1.0).astype(np.float32)
        joints = pipe("she bows", seed=0, motion=motion, keep=[(0, 1.5), (2.55, 3.0), (4, 5)])["joints"]
        kept = np.zeros(100, bool)
        for start, end in ((0, 30), (51, 60), (80, 100)):
            kept[start:end] = True
        np.testing.assert_allclose(joints[kept], motion[kept], atol=1e-5)
        assert np.abs(joints[~kept] - motion[~kept]).max() > 0.05
        steps = np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=-1)
        assert steps.max() < 0.5

    def test_a_mask_of_frames_keeps_what_ranges_keep(self, pipe):
        made = pipe("a man walks", duration=3.0, seed=4)  # what the pipeline gave, it takes
        mask = np.ones(60, bool)
        mask[20:50] = False
        edits = [pipe("she bows", seed=0, motion=made, keep=keep) for keep in (mask, [(0, 1), (2.5, 3)])]
        np.testing.assert_array_equal(edits[0]["joints"], edits[1]["joints"])
        np.testing.assert_allclose(edits[0]["joints"][mask], made["joints"][mask], atol=1e-5)

    @pytest.mark.parametrize("sides", [("prefix",), ("suffix",), ("prefix", "suffix")])
    @pytest.mark.parametrize("duration", [2.0, 2.1])
    def test_joints_pass_transitions_without_a_jump_of_their_speed(self, pipe, sides, duration):
        """An untrained generator decodes a body that has nothing of the walk beside it, and jumps about itself."""
        walk = make_motion(60, seed=3).astype(np.float32)
        made = pipe("she bows", duration=duration, seed=0, **dict.fromkeys(sides, walk))["joints"]
        jolts = np.linalg.norm(np.diff(made, 2, axis=0), axis=-1).max(-1)  # the first is that of frame 1
        ends = {"prefix": 60 - 1, "suffix": len(made) - 60}  # the given frames beside what is made
        for side in sides:
            assert jolts[ends[side] - 1] < 0.02  # metres a frame, of its speed; a straight fade jumps by 0.06

    @pytest.mark.parametrize("count", [1, 2, 20])
    def test_a_right_answer_in_the_gap_meets_both_sides(self, pipe, monkeypatch, count):
        """With the clip's own features decoded, body and facing pass the transitions as the clip does."""
        motion = make_motion(80, facing=0.5).astype(np.float32)
        first, last, tokens = 30, 30 + count, -(-count // 4)
        features = torch.from_numpy(lamp_hf.joints_to_features(motion)[first - 24 : first + 4 * tokens + 24])
        right = pipe.processor.feature_extractor.normalise(features)[None]
        monkeypatch.setattr(pipe.model.vqvae, "decode", lambda codes: right)
        made = pipe("she bows", seed=0, motion=motion, keep=[(0, first / 20), (last / 20, 4)])["joints"]
        turns = [np.degrees(np.abs(np.diff(facing_angles(joints)))) for joints in (motion, made)]
        steps = [np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=-1) for joints in (motion, made)]
        assert turns[1].max() < turns[0].max() + 2.0
        assert steps[1].max() < 1.5 * steps[0].max()

    def test_a_gap_may_be_longer_than_a_window(self, pipe):
        motion = make_motion(420, facing=1.0).astype(np.float32)
        joints = pipe("she bows", seed=0, motion=motion, keep=[(0, 1), (20, 21)])["joints"]
        kept = np.r_[0:20, 400:420]
        np.testing.assert_allclose(joints[kept], motion[kept], atol=1e-5)
        made = pipe("she bows", prefix=motion[:40], suffix=motion[:40], duration=25.0, seed=0)["joints"]
        assert len(made) == 40 + 500 + 40
        steps = np.linalg.norm(np.diff(made[:, 0], axis=0), axis=-1)
        assert steps[[39, 539]].max() < 0.3

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            ({"keep": [(0, 1), (0.5, 2)]}, "overlap at 0.5 seconds"),
            ({"keep": [(1, 1)]}, "starts before it ends"),
            ({"keep": [(0, 9)]}, "lies inside"),
            ({"keep": [(0, 3)]}, "everything is to be kept"),
            ({"keep": []}, "nothing is to be kept"),
            ({"keep": np.ones(59, bool)}, "mask of 59 frames"),
            ({"keep": np.ones(60, bool)}, "everything is to be kept"),
            ({"motion": {"joints": make_motion(60), "fps": 30}, "keep": [(0, 1)]}, "no joints at 20 frames a second"),
            ({"keep": [(0, 1)], "duration": 2.0}, "say nothing"),
            ({"motion": None, "keep": [(0, 1)]}, "belong together"),
            ({"motion": None, "prefix": np.zeros((30, 21, 3)), "duration": 1.0}, "21"),
            ({"motion": None, "prefix": make_motion(30)[None], "duration": 1.0}, r"got the shape \[1, 30, 22, 3\]"),
            ({"motion": None, "prefix": np.full((30, 22, 3), np.nan), "duration": 1.0}, "NaN"),
            ({"motion": None, "prefix": lamp_hf.Motion(make_motion(30), fps=30), "duration": 1.0}, "resample"),
            ({"motion": None, "prefix": make_motion(30), "duration": 601.0}, "not returned in one piece"),
            ({"motion": None, "prefix": make_motion(30), "mode": "sequence"}, "one text"),
        ],
    )
    def test_bad_edits_are_refused_in_a_line(self, pipe, arguments, message):
        with pytest.raises(ValueError, match=message) as caught:
            pipe("she bows", **({"motion": make_motion(60)} | arguments))
        assert "\n" not in str(caught.value)

    def test_another_skeleton_is_refused(self, pipe):
        kit = lamp_hf.Motion(make_motion(30, skeleton="kit"), fps=12.5, skeleton="kit")
        with pytest.raises(ValueError, match="skeleton 'kit'"):
            pipe("she bows", duration=1.0, prefix=kit)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"inputs": ""}, "empty"),
        ({"inputs": "   "}, "empty"),
        ({"inputs": "walk " * 2000}, "too long"),
        ({"inputs": "x" * 10000, "num_inference_steps": 0}, "num_inference_steps"),
        ({"inputs": "walk", "duration": 0}, "must be a number from 0.2 on"),
        ({"inputs": "walk", "duration": -1.0}, "must be a number from 0.2 on"),
        ({"inputs": "walk", "duration": float("nan")}, "must be a number from 0.2 on"),
        ({"inputs": "walk", "duration": 601}, "use pipe.stream"),
        ({"inputs": ["walk"] * 62, "mode": "sequence"}, "may last over 600 seconds"),  # up to 9.8 of each
        ({"inputs": [], "mode": "sequence"}, "no text"),
        ({"inputs": ["walk", ""], "mode": "sequence"}, "empty"),
        ({"inputs": ["walk", "run"], "mode": "sequence", "duration": [1.0]}, "2 texts but 1 durations"),
        ({"inputs": "walk", "mode": "loop"}, "unknown mode 'loop'"),
        ({"inputs": "walk", "duration": "4"}, "number of seconds"),
        ({"inputs": ["walk", "run"], "duration": [1.0]}, "2 texts but 1 durations"),
        ({"inputs": "walk", "num_return_sequences": 0}, "num_return_sequences"),
        ({"inputs": "walk", "guidance": 3}, "unknown option 'guidance'"),
        ({"inputs": "walk", "top_k": 2.5}, "top_k must be a whole number"),
        ({"inputs": "walk", "temperature": "hot"}, "temperature must be a number"),
        ({"inputs": ["walk", "run"], "duration": [1.0, 700.0]}, "use pipe.stream"),
        ({"inputs": "walk", "seed": 2**70}, "a seed is a whole number"),
        ({"inputs": "walk", "seed": -1}, "a seed is a whole number"),
        ({"inputs": "walk", "seed": 1.7}, "a seed is a whole number"),
        ({"inputs": "walk", "seed": True}, "a seed is a whole number"),
        ({"inputs": "walk", "seed": np.arange(2)}, "1 texts but 2 seeds"),
        ({"inputs": "walk", "temperature": -1}, "temperature"),
    ],
)
def test_bad_requests_are_refused_in_a_line(pipe, arguments, message):
    with pytest.raises(ValueError, match=message) as caught:
        pipe(**arguments)
    assert "\n" not in str(caught.value)
