"""Loops: the best cycle of a clip, closed, in Python, on the command line and in the files that engines read."""

import json
import sys
import warnings

import numpy as np
import pygltflib
import pytest
from bodies import PACE, PERIOD, kicking, walking
from characters import RIGS, Played, joint_name, write_bvh_character, write_character

import lamp_hf
from lamp_hf.cli import main
from lamp_hf.metrics.geometry import facing_angles
from lamp_hf.models.motion_cycles import best_cycle
from lamp_hf.models.motion_loops import close_cycle, generate_loops, repeated
from lamp_hf.models.motion_requests import MotionRequest
from lamp_hf.models.skeleton import HUMANML3D, SKELETONS


def jolt(joints: np.ndarray) -> np.ndarray:
    """Largest acceleration of a joint in each frame, metres a frame squared."""
    return np.linalg.norm(np.diff(joints, 2, axis=0), axis=-1).max(-1)


@pytest.fixture(scope="module")
def walk() -> lamp_hf.Motion:
    return lamp_hf.Motion(walking(turning=1.5), text="a person walks in a circle")


@pytest.fixture(scope="module")
def loop(walk) -> lamp_hf.Motion:
    return walk.loop()


class TestMotion:
    def test_a_walk_loops_after_two_steps_farther_on_and_turned(self, loop):
        assert loop.num_frames in (PERIOD, PERIOD + 1, PERIOD - 1) and loop.text == "a person walks in a circle"
        assert np.hypot(*loop.cycle.travel) == pytest.approx(PACE * loop.num_frames, rel=0.05)
        assert loop.cycle.turn == pytest.approx(1.5 * loop.num_frames, abs=1)

    def test_repetitions_follow_each_other_like_any_frames(self, walk, loop):
        joints = repeated(loop.joints, loop.cycle, 3)
        assert len(joints) == 3 * loop.num_frames + 1
        assert jolt(joints).max() < 1.2 * jolt(walk.joints).max()
        before = repeated(loop.joints, loop.cycle, 3, first=-1)[loop.num_frames :][: loop.num_frames]
        np.testing.assert_allclose(before, loop.joints, atol=1e-5)

    def test_sides_of_a_seam_that_do_not_match_meet_halfway(self):
        """The wrist is 6 cm higher where the cycle ends."""
        joints = walking()
        joints[:, 20, 1] += np.interp(np.arange(len(joints)), [20, 40], [0, 0.06])
        closed, cycle = close_cycle(joints, 20, 40, 20.0, HUMANML3D)
        assert jolt(repeated(closed, cycle, 2)).max() < 1.2 * jolt(walking()).max()
        assert 0.02 < np.abs(closed[:, 20, 1] - joints[20:40, 20, 1]).max() < 0.04

    def test_generated_contacts_lie_between_standing_and_not(self, walk):
        features = lamp_hf.joints_to_features(walk.joints)
        contacts = features[:, HUMANML3D.slices["contacts"]]
        contacts[:] = 0.6 * contacts + np.random.default_rng(0).uniform(0, 0.4, contacts.shape)
        start, end = best_cycle(features, HUMANML3D)
        assert end - start == pytest.approx(PERIOD, abs=1)

    def test_bones_keep_their_length(self, walk, loop):
        def lengths(joints):
            return np.linalg.norm(joints[:, 1:] - joints[:, HUMANML3D.parents[1:]], axis=-1)

        np.testing.assert_allclose(lengths(loop.joints), lengths(walk.joints)[: loop.num_frames], atol=1e-4)

    @pytest.mark.parametrize("seconds", [2.0, 3.0])
    def test_a_longer_loop_has_a_whole_number_of_repetitions(self, walk, seconds):
        frames = walk.loop(seconds).num_frames
        assert frames == pytest.approx(20 * seconds, abs=2) and (frames + 2) % PERIOD <= 4

    def test_frame_rate_and_skeleton_of_the_motion_are_kept(self):
        motion = lamp_hf.Motion(walking()).resample(120)
        fast = motion.loop()
        assert fast.fps == 120 and fast.num_frames == pytest.approx(120, abs=6)
        assert jolt(repeated(fast.joints, fast.cycle, 2)).max() < 1.2 * jolt(motion.joints).max()
        kit = SKELETONS["kit"]
        angle = 2 * np.pi * np.arange(80) / 10
        still = np.cumsum(np.array(kit.directions) * np.array(kit.bone_lengths)[:, None], 0)[None] * kit.metres
        joints = np.repeat(still, 80, 0)
        joints[:, 7, 1] += 0.05 * np.sin(angle)
        loop = lamp_hf.Motion(joints, kit.fps, kit).loop()
        assert loop.skeleton == "kit" and loop.fps == kit.fps and 6 <= loop.num_frames < 80

    def test_a_loop_keeps_looping_at_another_rate_and_after_cleaning(self, loop):
        for changed in (loop.resample(30), loop.clean(feet=False, smoothing=0.05), loop.in_place()):
            again = repeated(changed.joints, changed.cycle, 2)
            assert jolt(again).max() < 1.3 * jolt(repeated(loop.joints, loop.cycle, 2)).max()
        assert abs(loop.resample(30).duration - loop.duration) < 0.5 / 20
        assert loop.trim(0, 0.5).cycle is None

    @pytest.mark.parametrize(
        "joints, seconds, reason",
        [
            (kicking(), None, "no cycle: nothing in it goes on and on"),
            (walking(8), None, "0.5 seconds or more"),
            (walking(60), 9.0, "too short for a cycle of 9 seconds"),
            (walking(1400), 60.0, "from 0.5 to 30 seconds, not 60"),
            (walking(), 0.3, "from 0.5 to 30 seconds, not 0.3"),
            (walking(1)[:1], None, "one frame"),
            (walking(), -1.0, "positive number of seconds"),
        ],
    )
    def test_a_motion_without_a_cycle_is_refused_with_the_reason(self, joints, seconds, reason):
        with pytest.raises(ValueError, match=reason):
            lamp_hf.Motion(joints).loop(seconds)

    def test_a_long_clip_is_searched_everywhere(self):
        """Someone stands for a minute, then walks."""
        features = lamp_hf.joints_to_features(walking(300))
        rest = np.repeat(features[:1], 1200, 0)
        rest[:, HUMANML3D.slices["velocities"]] = 0
        start, end = best_cycle(np.concatenate([rest, features]), HUMANML3D, seconds=1.0)
        assert end - start == pytest.approx(20, abs=8)


class TestInPlace:
    def test_the_hips_stay_and_everything_else_moves_as_before(self, loop):
        still = loop.in_place()
        assert np.abs(still.joints[:, 0, [0, 2]]).max() == 0 and still.cycle.travel == (0, 0)
        own = [motion.joints - motion.joints[:, :1] for motion in (loop, still)]
        np.testing.assert_allclose(*own, atol=1e-6)
        np.testing.assert_array_equal(still.joints[..., 1], loop.joints[..., 1])

    def test_root_motion_is_on_a_node_above_the_hips(self, loop, tmp_path):
        document = pygltflib.GLTF2().load(loop.save(tmp_path / "walk.glb", root_motion=True))
        (root,) = [node for node in document.nodes if node.name == "root"]
        assert [document.nodes[child].name for child in root.children] == ["pelvis"]
        assert document.nodes.index(root) in document.scenes[0].nodes
        path, hips = (translations(document, document.nodes.index(node)) for node in (root, document.nodes[0]))
        np.testing.assert_allclose(path[:-1] + hips[:-1], loop.joints[:, 0], atol=1e-5)
        assert np.abs(hips[:, [0, 2]]).max() == 0 and np.abs(path[:, 1]).max() == 0

    def test_a_bvh_with_root_motion_is_read_back(self, loop, tmp_path):
        path = loop.save(tmp_path / "walk.bvh", root_motion=True)
        assert "ROOT root" in path.read_text() and "JOINT pelvis" in path.read_text()
        assert np.abs(lamp_hf.Motion.load(path).joints - loop.joints).max() < 2.1e-3

    def test_other_formats_have_no_place_for_root_motion(self, loop, tmp_path):
        with pytest.raises(ValueError, match=r"a \.bvh or a \.glb"):
            loop.save(tmp_path / "walk.npz", root_motion=True)


def translations(document: pygltflib.GLTF2, node: int) -> np.ndarray:
    """Read the keys of a node's place."""
    (animation,) = document.animations
    (channel,) = [c for c in animation.channels if c.target.node == node and c.target.path == "translation"]
    accessor = document.accessors[animation.samplers[channel.sampler].output]
    view = document.bufferViews[accessor.bufferView]
    data = document.binary_blob()[view.byteOffset : view.byteOffset + view.byteLength]
    return np.frombuffer(data, np.float32).reshape(-1, 3)


def seam(played: Played) -> float:
    """Return the most degrees between the first and the last key of a joint's rotation, without the pelvis's."""
    (animation, *_) = played.document["animations"]
    paths = {
        (channel["target"]["node"], channel["target"]["path"]): channel["sampler"] for channel in animation["channels"]
    }
    turns = [
        played.values(animation["samplers"][sampler]["output"])[[0, -1]]
        for (node, path), sampler in paths.items()
        if path == "rotation" and (node, "translation") not in paths
    ]
    return float(np.degrees(2 * np.arccos(np.clip(np.abs(np.prod(turns, 1).sum(-1)), 0, 1)).max()))


class TestFiles:
    def test_a_glb_says_what_engines_ask_for_and_ends_with_its_first_pose(self, loop, tmp_path):
        document = pygltflib.GLTF2().load(loop.save(tmp_path / "walk.glb"))
        extras = document.animations[0].extras
        assert extras["fps"] == 20 and extras["loop"]["end"] == pytest.approx(loop.duration)
        assert np.allclose(extras["loop"]["travel"], loop.cycle.travel, atol=1e-4)
        assert all(0 <= start < end <= loop.duration for times in extras["contacts"].values() for start, end in times)
        path = translations(document, 0)
        assert len(path) == loop.num_frames + 1
        np.testing.assert_allclose(path[-1] - path[0], [loop.cycle.travel[0], 0, loop.cycle.travel[1]], atol=1e-4)

    def test_a_motion_that_does_not_loop_has_its_own_frames_and_contacts(self, tmp_path):
        joints = walking(30)
        joints[:, [10, 11]] = joints[:1, [10, 11]]
        document = pygltflib.GLTF2().load(lamp_hf.Motion(joints).save(tmp_path / "walk.glb"))
        extras = document.animations[0].extras
        assert "loop" not in extras and len(translations(document, 0)) == 31
        assert extras["contacts"] == {"left_foot": [[0.0, 1.55]], "right_foot": [[0.0, 1.55]]}

    @pytest.mark.parametrize("rig", ["mixamo", "vrm0", "z-up"])
    def test_a_character_ends_with_its_first_pose_where_its_own_legs_take_it(self, rig, loop, tmp_path):
        hero = write_character(tmp_path / "hero.glb", **RIGS[rig])
        played = Played(lamp_hf.retarget(loop, hero, tmp_path / "walk.glb"))
        extras = played.document["animations"][0]["extras"]
        assert extras["fps"] == 20 and extras["contacts"].keys() == {"left_foot", "right_foot"}
        assert len(played.times) == loop.num_frames + 1
        assert extras["loop"]["end"] == pytest.approx(played.times[-1], abs=1e-4)
        pelvis = played.names.index(joint_name("pelvis", RIGS[rig].get("names")))
        way = np.diff(played.world[[0, -1], pelvis, :3, 3], axis=0)[0]
        floor = [0, 1] if rig == "z-up" else [0, 2]
        np.testing.assert_allclose(extras["loop"]["travel"], way[floor], atol=1e-4)
        legs = np.hypot(*way[floor]) / np.hypot(*loop.cycle.travel)
        assert 0.7 < legs < 0.95 and np.abs(np.delete(way, floor)) < 1e-4
        assert seam(played) < 0.1

    def test_a_vrm_animation_ends_with_its_first_pose(self, loop, tmp_path):
        played = Played(loop.save(tmp_path / "walk.vrma"))
        assert len(played.times) == loop.num_frames + 1 and seam(played) < 0.1
        assert np.allclose(played.document["animations"][0]["extras"]["loop"]["travel"], loop.cycle.travel, atol=1e-4)
        way = np.diff(played.places("hips")[[0, -1]], axis=0)[0]
        np.testing.assert_allclose(way[[0, 2]], loop.cycle.travel, atol=2e-3)

    def test_a_straight_arm_is_twisted_alike_on_both_sides_of_the_seam(self, tmp_path):
        """It bends to the side before the seam and forward after it; only those frames tell how it is twisted."""
        joints = walking()
        swing = 0.15 * np.sin(2 * np.pi * np.arange(len(joints)) / PERIOD)
        joints[:, 20, 2] += swing.clip(min=0)
        joints[:, 20, 0] -= swing.clip(max=0)
        closed, cycle = close_cycle(joints, 20, 40, 20.0, HUMANML3D)
        hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
        loop = lamp_hf.Motion(closed, cycle=cycle)
        assert seam(Played(lamp_hf.retarget(loop, hero, tmp_path / "walk.glb"))) < 1

    def test_the_skeleton_of_a_bvh_has_each_frame_once(self, loop, tmp_path):
        skeleton = write_bvh_character(tmp_path / "mine.bvh")
        path = lamp_hf.retarget(loop, skeleton, tmp_path / "walk.bvh")
        assert f"Frames: {loop.num_frames}\n" in path.read_text()

    def test_an_npz_keeps_the_loop_and_has_contacts(self, loop, tmp_path):
        path = loop.save(tmp_path / "walk.npz")
        arrays = np.load(path)
        assert arrays["contacts"].shape == (loop.num_frames, 2) and arrays["contacts"].dtype == bool
        assert arrays["loop"].tolist() == [0, loop.duration]
        loaded = lamp_hf.Motion.load(path)
        assert loaded.cycle.travel == loop.cycle.travel and loaded.cycle.turn == loop.cycle.turn


class TestGenerate:
    """The pipeline, with clips in place of a model: some have a cycle."""

    def loops(self, clips, num_frames=None, **options):
        asked = []

        def generate(requests):
            asked.append([(request.seed, request.num_frames) for request in requests])
            found = [clips[request.seed] for request in requests]
            return [
                {"joints": joints, "features": lamp_hf.joints_to_features(joints), "fps": 20.0} for joints in found
            ]

        requests = [MotionRequest(["a person walks"], [num_frames], seed) for seed in options.pop("seeds", [0])]
        return generate_loops(generate, requests, stride=2, skeleton=HUMANML3D, longest=600.0), asked

    def test_further_seeds_are_tried_for_those_without_a_cycle(self):
        clips = {0: kicking(), 1: walking(), 2: kicking(), 4: walking()}
        (one, other), asked = self.loops(clips, seeds=[0, 1])
        assert [[seed for seed, _ in batch] for batch in asked] == [[0, 1], [2], [4]]
        for result in (one, other):
            motion = lamp_hf.Motion(**result)
            assert motion.cycle.travel == result["cycle"].travel and len(result["features"]) == motion.num_frames

    def test_a_motion_is_longer_than_the_loop_that_is_cut_from_it(self):
        (result,), asked = self.loops({0: walking(120)}, num_frames=40)
        assert asked == [[(0, [80])]] and len(result["joints"]) == pytest.approx(40, abs=2)

    def test_a_loop_starts_over_the_origin_facing_ahead_as_its_features_say(self):
        (result,), _ = self.loops({0: walking(turning=1.5) + [1.0, 0.2, 2.0]})
        joints, cycle = result["joints"], result["cycle"]
        assert cycle.start > 0 and np.abs(joints[0, 0, [0, 2]]).max() < 1e-6
        assert facing_angles(joints)[0] == pytest.approx(0, abs=1e-5)
        np.testing.assert_allclose(lamp_hf.features_to_joints(result["features"]), joints, atol=1e-4)
        assert jolt(repeated(joints, cycle, 2)).max() < 1.2 * jolt(walking(turning=1.5)).max()
        assert cycle.travel[1] == pytest.approx(PACE * len(joints), rel=0.1) and cycle.travel[0] > 0.1

    def test_a_text_without_a_cycle_is_refused_in_one_line(self):
        with pytest.raises(ValueError, match=r"no loop of 'a person walks' in 8 motions from seed 0 on: .* no cycle"):
            self.loops(dict.fromkeys(range(0, 16, 2), kicking()))

    @pytest.mark.parametrize(
        "texts, num_frames, reason",
        [
            (["a person walks", "waves"], [40, 40], "one action"),
            (["a person walks"], [1200], "from 0.5 to 30 seconds, not 60"),
            (["a person walks"], [6], "from 0.5 to 30 seconds, not 0.3"),
        ],
    )
    def test_what_is_no_loop_is_refused_before_anything_is_generated(self, texts, num_frames, reason):
        requests = [MotionRequest(["a person walks"], [40], 0), MotionRequest(texts, num_frames, 0)]
        with pytest.raises(ValueError, match=reason):
            generate_loops(None, requests, 1, HUMANML3D, 600.0)


@pytest.fixture
def run(monkeypatch, capsys):
    """Returns a function that runs `lamp-hf` and returns its exit code, output and errors."""

    def call(*arguments) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["lamp-hf", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # the command replaces it
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code or 0, *capsys.readouterr()

    return call


class TestCommand:
    def test_a_file_becomes_its_best_cycle_in_place(self, walk, tmp_path, run):
        walk.save(tmp_path / "walk.npz")
        code, output, errors = run(
            "convert", tmp_path / "walk.npz", tmp_path / "loop.glb", "--loop", "--in-place", "--json"
        )
        assert code == 0, errors
        made = json.loads(output)
        assert made["frames"] in (19, 20, 21) and made["cycle"]["travel"] == [0, 0]

    @pytest.mark.parametrize(
        "options, reason",
        [
            (["--loop"], "kick.npz: the motion has no cycle"),
            (["--loop-seconds", "2"], "give --loop too"),
            (["--in-place", "--root-motion"], "give one of them"),
            (["--loop", "--loop-seconds", "nan"], "positive number of seconds"),
        ],
    )
    def test_what_cannot_be_done_is_said_in_one_line(self, tmp_path, run, options, reason):
        lamp_hf.Motion(kicking()).save(tmp_path / "kick.npz")
        code, _, errors = run("convert", tmp_path / "kick.npz", tmp_path / "out.glb", *options)
        assert code == 1 and reason in errors and len(errors.splitlines()) == 1
        assert not (tmp_path / "out.glb").exists()
