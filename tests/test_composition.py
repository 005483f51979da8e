"""Composed clips: the actions they show, their smoothness, and their captions."""

from types import SimpleNamespace

import numpy as np
import pytest
from test_metrics import standing, travelling

from lamp_hf.metrics.geometry import measure
from lamp_hf.metrics.physics import foot_skating
from lamp_hf.models.motion_representation import features_to_joints, joints_to_features
from lamp_hf.models.skeleton import HUMANML3D
from training.augmentation.composition import (
    Composer,
    follow,
    gerund,
    graft,
    held_up,
    plain,
    predicate,
    pronoun,
    retime,
    seam,
    sequential_caption,
    simultaneous_caption,
)
from training.evaluation.composition import (
    Halves,
    draw_pairs,
    prompts_of_captions,
    put_together,
    shows_in_order,
    shows_simultaneously,
)


@pytest.fixture(scope="module")
def clips() -> dict[str, np.ndarray]:
    """Joints of a walk and of someone who stands and lifts the left arm."""
    walk, stand = (features_to_joints(joints_to_features(joints)) for joints in (travelling(1.2), standing(80)))
    lift = stand.copy()
    angle = np.radians(80) * np.sin(np.linspace(0, np.pi, len(lift))) ** 2
    for joint in (18, 20):
        length = np.linalg.norm(lift[0, joint] - lift[0, 16])
        lift[:, joint] = lift[:, 16] + length * np.stack([np.cos(angle), np.sin(angle), 0 * angle], -1)
    return {"walk": walk, "lift": lift, "stand": stand}


def bone_lengths(joints: np.ndarray) -> np.ndarray:
    return np.linalg.norm(joints[:, 1:] - joints[:, list(HUMANML3D.parents[1:])], axis=-1)


def test_an_arm_is_lifted_on_a_body_that_walks(clips):
    joints = graft(clips["walk"], clips["lift"], ["left"], start=0)
    facts, walk = measure(joints), measure(clips["walk"])
    assert facts.left_rise > 0.3 > facts.right_rise
    assert facts.path == pytest.approx(walk.path, rel=0.01)
    legs = [0, 1, 2, 4, 5, 7, 8, 10, 11]
    assert np.array_equal(joints[:, legs], clips["walk"][:, legs])


def test_composed_clips_keep_bone_lengths_and_skate_no_more(clips):
    """Features give bones their lengths, and feet slide no more than those of the clips."""
    slides = [foot_skating(clips[name]) for name in ("walk", "lift")]
    grafted = graft(clips["walk"], clips["lift"][20:45], ["left"], start=20)
    before, after = (joints_to_features(clips[name]) for name in ("walk", "lift"))
    followed = follow(before, after, *seam(before, after)[:2])
    for joints in (grafted, followed, retime(clips["walk"], 1.2)):
        kept = features_to_joints(joints_to_features(joints))
        assert np.abs(bone_lengths(kept) - HUMANML3D.bone_lengths[1:]).max() < 1e-3
        assert foot_skating(kept) < max(slides) * 1.3


def test_the_judges_distinguish_simultaneous_from_sequential_actions(clips):
    both = graft(clips["walk"], clips["lift"], ["left"], start=0)
    lift_then_walk = chained(clips["lift"], clips["walk"])
    lift, walk = "raise-up-left-hand", "walk"
    assert shows_simultaneously(both, [walk, lift]) and not shows_simultaneously(lift_then_walk, [walk, lift])
    assert shows_in_order(lift_then_walk, [lift, walk]) and not shows_in_order(lift_then_walk, [walk, lift])
    assert not shows_in_order(both, [lift, walk]) and not shows_in_order(both, [walk, lift])


def test_another_judge_looks_for_one_action_in_each_half(clips):
    class Travels:
        """A judge that looks at the path alone."""

        def __call__(self, motions):
            return ["going" if measure(joints).path > 1 else "gesture" for joints in motions], [], None

    named = SimpleNamespace(actions=["walk", "lift"], families=["going", "gesture"])
    halves = Halves(Travels(), named)
    motions = [chained(clips["lift"], clips["walk"]), chained(clips["walk"], clips["lift"])]
    assert halves(motions, [["lift", "walk"], ["lift", "walk"]]) == 50
    assert halves(motions, [["lift", "walk"], ["dance", "walk"]]) == 100  # nobody can tell a dance


def test_validation_prompts_are_made_of_captions(clips):
    """Only clips that show their labels take part, and at the same time only what one body can do."""
    rows = {
        "walk": ("a man walks", "walk"),
        "lift": ("a man lifts the left arm", "raise-up-left-hand"),
        "stand": ("a man jumps", "jumping"),
    }
    motions = [joints_to_features(clips[name]) for name in rows]
    composer = Composer(motions, [[caption] for caption, _ in rows.values()], np.ones(3), 196)
    actions = [action for _, action in rows.values()]
    pairs = draw_pairs(composer, actions, seed=0)
    assert set(pairs["space"]) == {(0, 1)} and set(pairs["time"]) == {(0, 1), (1, 0)}
    assert shows_simultaneously(put_together(composer, "space", (0, 1)), ["walk", "raise-up-left-hand"])
    assert shows_in_order(put_together(composer, "time", (1, 0)), ["raise-up-left-hand", "walk"])
    assert draw_pairs(composer, ["", "", ""], seed=0) == {"space": [], "time": []}  # clips without labels
    prompts = prompts_of_captions(composer, actions, pairs, seed=0)
    assert len(prompts["space"]) == len(prompts["time"]) == 40
    assert {tuple(prompt["shows"]) for prompt in prompts["space"]} == {("walk", "raise-up-left-hand")}
    assert all("walk" in prompt["text"] and "left arm" in prompt["text"] for prompt in prompts["space"])
    orders = {tuple(prompt["shows"]) for prompt in prompts["time"]}
    assert orders == {("walk", "raise-up-left-hand"), ("raise-up-left-hand", "walk")}


def test_a_wave_is_no_next_thing_after_lifting_the_same_arm(clips):
    """It lifts the arm too, so that nobody could tell that lifting has ended."""
    wave = clips["lift"].copy()
    wave[:, 20, 0] += 0.15 * np.sin(np.arange(len(wave)) * 1.5)
    motions = [joints_to_features(joints) for joints in (clips["walk"], clips["lift"], wave)]
    composer = Composer(motions, [["a man walks"], ["a man lifts an arm"], ["a man waves"]], np.ones(3), 196)
    pairs = draw_pairs(composer, ["walk", "raise-up-left-hand", "wave-left-hand"], seed=0)
    assert set(pairs["time"]) == {(0, 1), (1, 0), (0, 2), (2, 0)}


def test_captions_without_subjects_are_refused(clips):
    motions = [joints_to_features(joints) for joints in clips.values()]
    with pytest.raises(ValueError, match="nothing to compose: no caption starts with its subject"):
        Composer(motions, [["walking forward"], ["lift"], ["still"]], np.ones(3), 196)


def chained(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """One clip after another, without a blend."""
    return np.concatenate([first, second - second[0, 0] + first[-1, 0]])


def test_arms_are_blended_in_and_out_without_a_jump(clips):
    joints = graft(clips["walk"], clips["lift"][20:45], ["left"], start=20)
    assert np.array_equal(joints[:20], clips["walk"][:20])
    assert np.array_equal(joints[45:], clips["walk"][45:])
    assert np.abs(np.diff(joints[:, 20], axis=0)).max() < 0.25  # metres a frame


def test_a_clip_follows_where_the_other_ended(clips):
    before, after = (joints_to_features(clips[name]) for name in ("walk", "lift"))
    end, start, distance = seam(before, after)
    assert end >= len(before) * 0.6
    assert start <= len(after) * 0.3
    assert 0 < distance < 0.3
    joints = follow(before, after, end, start)
    assert len(joints) == end + len(after) - start
    steps = np.linalg.norm(np.diff(joints[:, 0], axis=0), axis=-1)
    assert steps.max() < 1.2 * np.linalg.norm(np.diff(clips["walk"][:, 0], axis=0), axis=-1).max()
    assert measure(joints).left_rise > 0.3
    assert measure(joints).path > 0.6 * measure(clips["walk"]).path


def test_composed_clips_are_the_same_for_the_same_seed(clips):
    motions = [joints_to_features(joints) for joints in clips.values()]
    captions = [["a man walks forward"], ["she raises the left hand."], ["someone waits for two seconds"]]
    composer = Composer(motions, captions, np.ones(3), max_frames=196)
    first, again = list(composer(3, seed=5)), list(composer(3, seed=5))
    assert [clip.kind for clip in first] == ["composed in space"] * 3 + ["composed in time"] * 3
    for one, other in zip(first, again, strict=True):
        assert np.array_equal(one.motion, other.motion)
        assert one.captions == other.captions
        assert np.isfinite(one.motion).all()
        assert len(one.motion) <= 196
        assert 2 not in one.parts  # its only caption holds a quantity
    assert all(measure(features_to_joints(clip.motion)).left_rise > 0.3 for clip in first[:3])
    assert all("walk" in caption and "left hand" in caption for clip in first[:3] for caption in clip.captions)


def test_arms_fit_on_a_body_that_lets_them_hang(clips):
    names = ["walk", "lift", "stand"]
    composer = Composer([joints_to_features(clips[name]) for name in names], [["a man moves"]] * 3, np.ones(3), 196)
    fitting = {(names[i], names[j]) for i in range(3) for j in range(3) if composer.fits_in_space(i, j)}
    assert fitting == {("walk", "lift"), ("stand", "lift")}


def test_slower_and_faster(clips):
    assert len(retime(clips["walk"], 2.0)) == (len(clips["walk"]) - 1) // 2 + 1
    assert np.allclose(retime(clips["walk"], 1.0), clips["walk"], atol=1e-6)


@pytest.mark.parametrize(
    ("phrase", "wanted"),
    [
        ("waves slowly", "waving slowly"),
        ("puts a hand up", "putting a hand up"),
        ("carries a box", "carrying a box"),
        ("pushes", "pushing"),
        ("goes left", "going left"),
        ("is walking ahead", "walking ahead"),
        ("bows", "bowing"),
        ("raises and lowers a hand", None),
    ],
)
def test_gerunds(phrase, wanted):
    assert gerund(phrase) == wanted


def test_captions():
    assert plain("An old man walks for seven steps.") is None
    assert plain("The left hand goes up.") is None
    assert plain("The person walks.") == "the person walks"
    assert predicate("an exhausted old man walks on") == "walks on"
    rng = np.random.default_rng(0)
    together = {simultaneous_caption("a man walks", "she waves a hand", rng) for _ in range(50)}
    assert "a man walks while waving a hand" in together
    lifting = {simultaneous_caption("a man walks", "she lifts the left arm", rng) for _ in range(90)}
    assert {"a man walks with the left arm raised", "lifting the left arm, a man walks"} <= lifting
    assert held_up("waves both hands") == "both hands waving"
    assert held_up("lifts the hand") is None and held_up("lowers the left arm") is None
    assert pronoun("a young woman walks", rng) == "she" and pronoun("the man walks", rng) == "he"
    after = {sequential_caption("a man bows", "she walks away", rng) for _ in range(90)}
    assert {"a man bows, then walks away", "after bowing, a man walks away"} <= after
