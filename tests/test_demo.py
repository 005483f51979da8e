"""The demo: its actions with good and bad input, for many visitors at the same time, and in a browser."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
import pytest
import yaml
from characters import RIGS, Played, write_bvh_character, write_character
from conftest import free_port, make_motion
from test_motion_rigs import in_browser

import lamp_hf
from lamp_hf.motion.video import write_video


gr = pytest.importorskip("gradio", minversion="6")
from gradio_client import Client, handle_file  # noqa: E402

from lamp_hf.serve import demo, uploads  # noqa: E402
from lamp_hf.serve.demo_actions import DemoActions, viewer  # noqa: E402
from lamp_hf.serve.limits import MAX_TEXTS  # noqa: E402
from lamp_hf.serve.reading import ReaderPool  # noqa: E402
from lamp_hf.serve.timeline import MAX_POSES  # noqa: E402


ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def actions():
    return DemoActions(lamp_hf.bundled())


@pytest.fixture(scope="module")
def wave(actions):
    return actions.generate("a person waves with the left hand", 6.0, 0)[2]


@pytest.fixture
def serve():
    """A function that starts a demo and returns its address."""
    running = []

    def start() -> str:
        app, address, _ = demo.launch(port=free_port(), prevent_thread_lock=True, quiet=True)
        running.append(app)
        return address

    yield start
    for app in running:
        app.get_blocks().close(verbose=False)


def refusal(handler, *inputs) -> str:
    with pytest.raises(gr.Error) as caught:
        handler(*inputs)
    message = caught.value.message
    assert "/" not in message and "\n" not in message
    return message


class TestGenerating:
    def test_a_sentence_becomes_a_motion_and_the_note_names_its_seed(self, actions, wave):
        page, note, motion = actions.generate("a person waves with the left hand", 6.0, 0)
        assert page.startswith("<iframe") and note == "6.0 s, 120 frames, seed 0: a person waves with the left hand"
        assert np.array_equal(motion.joints, wave.joints)

    def test_lines_follow_one_another_and_share_the_duration(self, actions):
        motion = actions.generate("a person walks forward\n\n a person bows ", 6.0, 0)[2]
        assert motion.duration == 6.0 and motion.text == "a person walks forward, then a person bows"

    def test_an_unfamiliar_text_is_warned_of_in_the_note(self, familiar_folder):
        actions = DemoActions(str(familiar_folder))
        with pytest.warns(lamp_hf.UnfamiliarPromptWarning):
            note = actions.generate("person forward left hand", 1.0, 0)[1].splitlines()
        assert note[1].startswith('The model was not trained on anything like "person forward left hand"; nearest')
        assert len(actions.generate("she bows", 1.0, 0)[1].splitlines()) == 1

    def test_the_best_of_several_is_shown_and_its_seed_named(self, actions):
        note, motion = actions.generate("a person bows", 1.0, 3, 3)[1:]
        seed = int(note.split("seed ")[1].split(":")[0])
        assert seed in (3, 4, 5)
        assert np.allclose(motion.joints, actions.generate("a person bows", 1.0, seed)[2].joints, atol=1e-4)
        assert "best of 1 to 8" in refusal(actions.generate, "a person bows", 1.0, 3, 9)

    def test_without_a_seed_each_motion_has_another(self, actions):
        notes = {actions.generate("a person walks forward", 1.0, None)[1] for _ in range(2)}
        assert len(notes) == 2

    @pytest.mark.parametrize("suffix", demo.DOWNLOADS)
    def test_a_download_is_named_after_the_text(self, actions, wave, suffix):
        path = actions.save(wave, suffix)
        assert path.endswith(f"a-person-waves-with-the-left-hand{suffix}")
        if suffix == ".bvh":
            assert lamp_hf.Motion.load(path).num_frames == wave.num_frames

    @pytest.mark.parametrize(
        "text, duration, seed, message",
        [
            ("", 0, 0, "describe what"),
            (" \n ", 0, 0, "describe what"),
            (None, 0, 0, "describe what"),
            ("walk " * 101, 0, 0, "at most 500"),
            ("walk\n" * 7, 0, 0, "at most 6"),
            ("go. " * 125, 0, 0, "at most 6 make a motion"),
            ("walk", 60.5, 0, "60 seconds"),
            ("walk", -1, 0, "60 seconds"),
            ("walk", float("nan"), 0, "60 seconds"),
            ("walk", 0.1, 0, "must be a number"),
            ("walk", 0, -1, "seed"),
            ("walk", 0, 2**31, "seed"),
        ],
    )
    def test_bad_requests_are_refused(self, actions, text, duration, seed, message):
        assert message in refusal(actions.generate, text, duration, seed)

    def test_there_is_no_download_before_a_motion(self, actions):
        assert "first" in refusal(actions.save, None, ".bvh")

    def test_a_text_stays_text_in_the_viewer(self):
        page = viewer([lamp_hf.Motion(make_motion(), text='"><script>alert(1)</script>')])
        assert page.count("<") == 2 and 'sandbox="allow-scripts"' in page


def timeline(*rows, path="", poses=(), seed=0) -> list:
    """Return the fields of the timeline, with rows of sentences and seconds, and of key poses."""
    rows = [*rows, *[("", 3.0)] * (MAX_TEXTS - len(rows))]
    poses = [*poses, *[(None, 0, 0)] * (MAX_POSES - len(poses))]
    return [path, seed, *(field for row in [*rows, *poses] for field in row)]


class TestTimeline:
    def test_six_variants_have_the_seconds_of_their_sentences(self, actions):
        rows = ("a person walks forward", 2.0), ("", 3.0), ("a person bows", 1.5)
        page, note, shown, variants, chosen = actions.generate_variants(*timeline(*rows, seed=4))
        assert page.startswith("<iframe") and note == "3.5 s, seeds 4 to 9" and shown == 0 and chosen is None
        assert [motion.duration for motion in variants] == 6 * [3.5]
        assert len({motion.joints.tobytes() for motion in variants}) == 6
        assert {motion.text for motion in variants} == {"a person walks forward, then a person bows"}

    def test_one_of_the_variants_is_chosen_and_downloaded(self, actions, wave):
        other = lamp_hf.Motion(make_motion(), text="a walk")
        page, chosen = actions.choose([wave, other], 2)
        assert chosen is other and "a walk" in page
        assert actions.save(chosen, ".npz").endswith("a-walk.npz")
        page, chosen = actions.choose([wave, other], 0)
        assert chosen is None and "a walk" not in page
        assert "choose one" in refusal(actions.save, chosen, ".npz")
        assert "generate the variants first" in refusal(actions.choose, None, 1)

    def test_variants_follow_a_path_and_take_a_pose(self, actions, tmp_path):
        clip = lamp_hf.Motion(make_motion())
        fields = timeline(
            ("a person walks forward", 3.0),
            path="0, 0; 0.5, 1\n1, 2",
            poses=[(str(clip.save(tmp_path / "clip.npz")), 1.5, 1.0)],
        )
        note, _, variants, _ = actions.generate_variants(*fields)[1:]
        assert "path and key poses are met within" in note
        for motion in variants:
            assert np.allclose(motion.joints[-1, 0, [0, 2]], (1, 2), atol=0.2)
            assert np.allclose(shape(motion, 30), shape(clip, 20), atol=0.1)

    def test_each_unfamiliar_sentence_is_warned_of(self, familiar_folder):
        rows = ("person forward left hand", 1.0), ("she bows", 1.0)
        with pytest.warns(lamp_hf.UnfamiliarPromptWarning):
            note = DemoActions(str(familiar_folder)).generate_variants(*timeline(*rows))[1].splitlines()
        assert len(note) == 2 and note[1].startswith('The model was not trained on anything like "person forward')

    @pytest.mark.parametrize(
        "rows, options, message",
        [
            ([], {}, "describe what"),
            ([("walk", None)], {}, "takes its seconds"),
            ([("walk", 0)], {}, "takes its seconds"),
            ([("walk", -1)], {}, "must be a number"),
            ([("walk", 30), ("run", 31)], {}, "61 seconds"),
            ([("walk, then sit", 5)] * 4, {}, "at most 6 make a motion"),
            ([("walk", float("nan"))], {}, "nan seconds"),
            ([("walk", 3)], {"seed": -1}, "seed"),
            ([("walk", 3)], {"path": "0, 0"}, "two points"),
            ([("walk", 3)], {"path": "0, 0; 1"}, "two points"),
            ([("walk", 3)], {"path": "0, 0; here"}, "two points"),
            ([("walk", 3)], {"path": "0, 0; nan, 1"}, "two points"),
            ([("walk", 3)], {"path": "0, 0; 0, 90"}, "too fast"),
            ([("walk", 3)], {"path": "0, 0;" * 201}, "at most 200"),
        ],
    )
    def test_bad_timelines_are_refused(self, actions, rows, options, message):
        assert message in refusal(actions.generate_variants, *timeline(*rows, **options))

    def test_bad_poses_are_refused(self, actions, tmp_path):
        clip = str(lamp_hf.Motion(make_motion()).save(tmp_path / "clip.npz"))
        for pose, message in {
            (clip, 1.0, 9.0): "clip.npz: there is no pose at second 9 of a motion of 3 s",
            (clip, 1.0, -1.0): "clip.npz: there is no pose at second -1",
            (clip, 4.0, 1.0): "second 4 is not in a motion of 2 seconds",
            (str(tmp_path / "clip.fbx"), 1.0, 0): "cannot read clip.fbx",
        }.items():
            assert message in refusal(actions.generate_variants, *timeline(("walk", 2.0), poses=[pose]))


def shape(motion: lamp_hf.Motion, frame: int) -> np.ndarray:
    """Return the distances between the joints of a frame, which say what pose it is, wherever it stands and faces."""
    joints = motion.joints[frame]
    return np.linalg.norm(joints[:, None] - joints, axis=-1)


class TestOwnCharacter:
    @pytest.mark.parametrize("suffix", [".glb", ".vrm", ".bvh"])
    def test_a_motion_is_downloaded_on_it(self, actions, wave, tmp_path, suffix):
        if suffix == ".bvh":
            hero = write_bvh_character(tmp_path / "hero.bvh")
        else:
            hero = write_character(tmp_path / f"hero{suffix}", **RIGS["vrm1" if suffix == ".vrm" else "mixamo"])
        path = actions.save_on_character(wave, str(hero))
        assert path.endswith(f"a-person-waves-with-the-left-hand{suffix}")
        assert Path(path).read_bytes() == lamp_hf.retarget(wave, hero, tmp_path / f"out{suffix}").read_bytes()

    def test_a_file_that_is_none_is_refused(self, actions, wave, tmp_path):
        (tmp_path / "hero.glb").write_bytes(b"no character")
        assert "hero.glb" in refusal(actions.save_on_character, wave, str(tmp_path / "hero.glb"))
        assert "hero.fbx" in refusal(actions.save_on_character, wave, str(tmp_path / "hero.fbx"))
        assert "choose the file" in refusal(actions.save_on_character, wave, None)
        assert "generate a motion first" in refusal(actions.save_on_character, None, str(tmp_path / "hero.glb"))


class TestSearchCaptionCompare:
    def test_a_text_an_example_and_a_video_find_similar_motions(self, actions, wave, tmp_path):
        example, video = (str(wave.save(tmp_path / f"wave{suffix}")) for suffix in (".npz", ".mp4"))
        for query in (("someone runs", None, None), ("", example, None), ("", None, video)):
            hits = actions.search(*query)[1].splitlines()
            assert len(hits) == 4 and ("runs" in hits[0] if query[0] else "waves" in " ".join(hits[:2]))

    def test_an_empty_search_is_refused(self, actions):
        assert "nothing to search for" in refusal(actions.search, " ", None, None)

    def test_a_file_is_captioned(self, actions, wave, tmp_path):
        assert "wav" in actions.caption(str(wave.save(tmp_path / "clip.bvh")))[1]

    def test_sentences_and_files_are_compared(self, actions, wave, tmp_path):
        path = str(wave.save(tmp_path / "wave.npz"))
        table = actions.compare("a person waves with the left hand", None, "", path, 0)[1].splitlines()
        cells = [line.strip("|").split("|") for line in table[2:]]
        values = {row[0].strip(): (float(row[1]), float(row[2])) for row in cells}
        assert set(values) == {"motion A", "motion B", "sentence A"}
        assert values["motion A"][0] == 1.0 and values["motion A"][1] == values["motion B"][0] > 0.6
        assert "either" in refusal(actions.compare, "walk", path, "", path, 0)
        assert "either" in refusal(actions.compare, "walk", None, "", None, 0)


class TestUploads:
    @pytest.mark.parametrize("name", ["clip.fbx", "clip", "clip.npz", "clip.npy", "clip.bvh", "clip.zip.npz"])
    def test_other_files_are_refused_by_name(self, actions, tmp_path, name):
        content = b"PK\x05\x06" + bytes(18) if name == "clip.zip.npz" else b"no motion"
        (tmp_path / name).write_bytes(content)
        assert name in refusal(actions.caption, str(tmp_path / name))
        assert name in refusal(actions.search, "", str(tmp_path / name), None)

    def test_every_field_for_motions_takes_what_can_be_read_alone(self):
        fields = [block for block in demo.build_demo().blocks.values() if isinstance(block, gr.File)]
        assert [field.file_types for field in fields].count([".npy", ".npz", ".bvh"]) == 7

    def test_motions_too_long_too_short_or_of_another_skeleton_are_refused(self, actions, tmp_path):
        long, short = (lamp_hf.Motion(make_motion(frames)).save(tmp_path / f"{frames}.npy") for frames in (1240, 2))
        assert "1240.npy lasts 62.0 seconds" in refusal(actions.caption, str(long))
        assert "2.npy is too short" in refusal(actions.caption, str(short))
        kit = lamp_hf.Motion(make_motion(skeleton="kit") / 1000, 12.5, "kit").save(tmp_path / "kit.npy")
        assert "'kit'" in refusal(actions.caption, str(kit))

    def test_a_huge_archive_is_not_unpacked(self, actions, tmp_path, monkeypatch):
        monkeypatch.setattr(uploads, "MAX_UNPACKED", 1e4)
        path = lamp_hf.Motion(make_motion()).save(tmp_path / "clip.npz")
        assert "clip.npz unpacks to" in refusal(actions.caption, str(path))

    def test_videos_are_checked_too(self, actions, tmp_path):
        write_video(tmp_path / "long.mp4", iter(np.zeros((62, 32, 32, 3), np.uint8)), 1)
        (tmp_path / "broken.mp4").write_bytes(b"no video")
        problems = {"long.mp4": "lasts 62.0 seconds", "broken.mp4": "not a video", "video.txt": "ends in"}
        for name, problem in problems.items():
            message = refusal(actions.search, "", None, str(tmp_path / name))
            assert name in message and problem in message

    @pytest.mark.slow
    def test_a_file_that_takes_long_is_refused_and_holds_up_nobody(self, actions, wave, tmp_path, monkeypatch):
        readers = ReaderPool(1, seconds=3.0)
        monkeypatch.setattr(uploads, "_READERS", readers)
        readers.read(wave.save(tmp_path / "wave.bvh"), 60.0)  # starts the process
        joints, num_frames = "JOINT a\n{\nOFFSET 0 1 0\n}\n" * 4000, 4000
        (tmp_path / "slow.bvh").write_text(
            f"HIERARCHY\nROOT hips\n{{\nOFFSET 0 0 0\nCHANNELS 1 Xposition\n{joints}}}\n"
            f"MOTION\nFrames: {num_frames}\nFrame Time: 0.01\n" + "0\n" * num_frames
        )
        with ThreadPoolExecutor(1) as visitor:
            refused = visitor.submit(refusal, actions.caption, str(tmp_path / "slow.bvh"))
            assert actions.generate("a person waves with the left hand", 6.0, 0)[2].num_frames == wave.num_frames
            assert not refused.done()
            assert "slow.bvh takes too much time" in refused.result()
        assert "wav" in actions.caption(str(tmp_path / "wave.bvh"))[1]  # by a new process

    def test_a_video_of_too_many_pixels_is_not_decoded(self, tmp_path, monkeypatch):
        monkeypatch.setattr(uploads, "MAX_VIDEO_PIXELS", 1e4)
        write_video(tmp_path / "large.mp4", iter(np.zeros((20, 32, 32, 3), np.uint8)), 20)
        with pytest.raises(ValueError, match=r"large\.mp4 is too much to decode"):
            uploads.read_video(tmp_path / "large.mp4")

    def test_errors_name_no_folder_of_the_server(self):
        error = OSError(2, "No such file or directory", "/data/uploads/1f/walk.bvh")
        assert uploads.error_line(error) == "[Errno 2] No such file or directory: 'walk.bvh'"
        assert uploads.error_line(ValueError("/a/b/<b>.npy:\n left/right")) == "&lt;b&gt;.npy: left/right"


def ask(address: str, *inputs, endpoint: str = "/generate"):
    return Client(address, verbose=False).predict(*inputs, api_name=endpoint)


def test_visitors_have_motions_of_their_own(serve, tmp_path):
    address = serve()
    one, other = (Client(address, verbose=False) for _ in range(2))
    assert "seed 5" in one.predict("a person bows", 2.0, 5, api_name="/generate")[1]
    with pytest.raises(Exception, match="generate a motion first"):
        other.predict(api_name="/save_bvh")
    assert lamp_hf.Motion.load(one.predict(api_name="/save_bvh")).duration == 2.0
    (tmp_path / "large.npy").write_bytes(bytes(21_000_000))
    with pytest.raises(Exception, match=r"exceed|size|413"):
        other.predict(handle_file(tmp_path / "large.npy"), api_name="/caption")


@pytest.mark.slow
def test_twenty_visitors_at_the_same_time_are_all_served_in_constant_memory(serve):
    address = serve()
    ask(address, "a person walks forward", 2.0, 0)  # loads the models
    before = psutil.Process().memory_info().rss
    start = threading.Barrier(20)

    def visit(seed: int) -> str:
        client = Client(address, verbose=False)
        start.wait(60)
        return client.predict("a person walks forward", 2.0, seed, api_name="/generate")[1]

    with ThreadPoolExecutor(20) as visitors:
        notes = list(visitors.map(visit, range(20)))
    assert notes == [f"2.0 s, 40 frames, seed {seed}: a person walks forward" for seed in range(20)]
    grown = (psutil.Process().memory_info().rss - before) / 2**20
    print(f"memory grew by {grown:.0f} MiB")
    assert grown < 200


def test_visitors_beyond_the_queue_are_refused(serve, monkeypatch):
    monkeypatch.setattr(demo, "MAX_WAITING", 1)
    address = serve()
    ask(address, "a person walks forward", 2.0, 0)
    clients = [Client(address, verbose=False) for _ in range(6)]

    def visit(client: Client) -> str:
        try:
            return client.predict("a person walks in circles", 20.0, 0, api_name="/generate")[1]
        except Exception as error:
            return str(error)

    with ThreadPoolExecutor(6) as visitors:
        answers = list(visitors.map(visit, clients))
    made = sum("seed 0" in answer for answer in answers)
    assert made and made + sum("Queue is full" in answer for answer in answers) == 6 > made


def test_a_visitor_in_a_browser(serve, tmp_path):
    text = "a person waves {{value}} ${1+1} <b>with</b> the left hand"
    address = serve()
    seen = in_browser("demo.mjs", address, tmp_path, text)
    assert seen["errors"] == [] and seen["elsewhere"] == []
    assert seen["title"] == text and seen["moved"] > 500 and seen["note"].endswith(f"seed 0: {text}")
    assert f"{lamp_hf.Motion.load(seen['file']).duration:.1f} s" == seen["note"].split(",")[0]
    assert "describe what the person does" in seen["refusal"]
    assert "system-ui" in seen["fonts"]


def test_an_animator_in_a_browser(serve, tmp_path):
    pose = lamp_hf.Motion(make_motion()).save(tmp_path / "pose.npz")
    hero = write_character(tmp_path / "hero.glb", **RIGS["mixamo"])
    (tmp_path / "downloads").mkdir()
    seen = in_browser("timeline.mjs", serve(), tmp_path / "downloads", pose, hero)
    assert seen["errors"] == []
    drawn = [tuple(map(float, point.split(","))) for point in seen["drawn"].split(";")]
    assert drawn[0] == (0, 0) and drawn[1] == (0, 1) and np.allclose(drawn[-1], (0.9, 2.9), atol=0.3)
    assert seen["titles"] == list("123456") and seen["moved"] > 500
    assert seen["note"].startswith("5.0 s, seeds 0 to 5; path and key poses are met within")
    assert seen["title"] == "a person walks forward, then a person bows"
    motion = lamp_hf.Motion.load(seen["file"])
    assert motion.duration == 5.0 and np.allclose(motion.joints[-1, 0, [0, 2]], (1, 2.5), atol=0.2)
    assert Played(Path(seen["hero"])).times[-1] == pytest.approx(99 / 20)
    assert "too fast" in seen["refusal"]


def test_the_space_runs_on_the_gradio_that_is_tested():
    space = ROOT / "hub_cards" / "demo_space"
    header = yaml.safe_load((space / "README.md").read_text(encoding="utf-8").split("---")[1])
    assert f"gradio=={header['sdk_version']}" in (ROOT / "constraints.txt").read_text().splitlines()
    assert header["sdk"] == "gradio" and (space / header["app_file"]).is_file()


def test_without_gradio_the_verb_says_what_to_install():
    code = "import sys; sys.modules['gradio'] = None; from lamp_hf.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "demo"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == 'lamp-hf: the demo needs gradio: pip install "gradio>=6.31,<7"\n'
