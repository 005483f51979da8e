"""MMCP: what the server says of itself, and what it answers to requests of the protocol's own client."""

import base64
import json
import threading
import time

import numpy as np
import pytest
from conftest import CAPTIONS
from scipy.spatial.transform import Rotation

import lamp_hf
from lamp_hf.models.skeleton import HUMANML3D
from lamp_hf.motion.rotations import forward_kinematics, rest_positions


pytest.importorskip("fastapi")
from fastapi.testclient import TestClient
from test_serve import refusal

from lamp_hf.serve.api import build_app
from lamp_hf.serve.mmcp_constraints import to_constraints
from lamp_hf.serve.mmcp_gltf import rest_offsets, to_rotations
from lamp_hf.serve.mmcp_schema import RootPath
from lamp_hf.serve.tasks import ModelTasks


PATH = {"type": "root_path", "frames": [0, 20, 39], "positions_xz": [[1, 2], [1, 3], [1.5, 3.5]]}
POINT = {"type": "effector_target", "joint": "left_wrist", "frames": [20], "positions": [[0.3, 1.2, 0.2]]}
TURN = {"type": "pose_keyframe", "frame": 20, "joint_rotations": {"head": [0, 0, 0, 1]}}


@pytest.fixture(scope="module")
def client(model_folder):
    with TestClient(build_app(ModelTasks(str(model_folder))), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def request_of(client):
    """A function that makes a request, with changes."""
    (model,) = client.get("/capabilities").json()["models"]

    def make(*prompts: tuple[str, int], **changes) -> dict:
        segments = [{"type": "text", "prompt": text, "duration_frames": frames} for text, frames in prompts]
        body = {"protocol_version": "1.0", "model": model["id"], "skeleton": model["canonical_skeleton"]}
        return body | {"segments": segments, "options": {"seed": 3, "post_processing": False}} | changes

    return make


def read_tracks(document: dict, sample: int = 0) -> dict[tuple[str, str], np.ndarray]:
    """Read the tracks of an animation by joint and path, as a glTF reader does."""
    data = base64.b64decode(document["buffers"][0]["uri"].partition(",")[2])
    assert len(data) == document["buffers"][0]["byteLength"]

    def read(number: int) -> np.ndarray:
        accessor = document["accessors"][number]
        view, size = document["bufferViews"][accessor["bufferView"]], {"SCALAR": 1, "VEC3": 3, "VEC4": 4}
        assert accessor["componentType"] == 5126
        values = np.frombuffer(data, "<f4", accessor["count"] * size[accessor["type"]], view["byteOffset"])
        return values.reshape(accessor["count"], -1)

    animation = document["animations"][sample]
    tracks = {}
    for channel in animation["channels"]:
        sampler, target = animation["samplers"][channel["sampler"]], channel["target"]
        tracks[document["nodes"][target["node"]]["name"], target["path"]] = read(sampler["output"])
        tracks["", "time"] = read(sampler["input"])[:, 0]
    return tracks


def test_the_skeleton_stands_on_the_floor_and_its_bones_have_the_models_lengths(processor):
    offsets = rest_offsets(processor.feature_extractor)
    standing = rest_positions(offsets, HUMANML3D.parents)
    assert standing[:, 1].min() == pytest.approx(0, abs=1e-6) and standing[0, 1] > 0.8
    assert np.linalg.norm(offsets[1:], axis=-1) == pytest.approx(HUMANML3D.bone_lengths[1:])


def test_the_skeleton_follows_bodies_whose_bones_meet_at_its_angles(processor):
    offsets = rest_offsets(processor.feature_extractor)
    turns = Rotation.from_rotvec(np.random.default_rng(0).normal(0, 0.3, (22, 3))).as_matrix()
    local = np.stack([np.eye(3)[None].repeat(22, 0), turns])
    joints = forward_kinematics(np.zeros((2, 3)), local, offsets, HUMANML3D.parents)
    rotations = to_rotations(lamp_hf.Motion(joints), offsets)
    posed = forward_kinematics(np.zeros((2, 3)), rotations, offsets, HUMANML3D.parents)
    assert np.abs(posed - joints).max() < 1e-5


@pytest.mark.parametrize(
    ("places", "facing"),
    [
        ([[1, 2], [3, 2]], [0, 90]),
        ([[1, 2], [3, 2], [3, 4]], [0, 0, 0]),
        ([[1, 2], [3, 2], [3, 2], [1, 2]], [0, 90, -90, -90]),  # it waits before it turns back
        ([[1, 2], [1, 2]], [0, 0]),  # as the model begins
    ],
)
@pytest.mark.parametrize("angle", [0.0, 0.7])
def test_where_a_path_has_no_way_on_the_body_stays_turned_as_it_came(places, facing, angle):
    """The client says which way the body faces at the end of another path alone."""
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])  # of (x, z), to the left
    places = (np.array(places, float) @ turn + [5, -3]).tolist()
    frames = [10 * number for number in range(len(places))]
    start = {"type": "root_path", "frames": [0], "positions_xz": places[:1], "heading_radians": [angle]}
    path = {"type": "root_path", "frames": frames[1:], "positions_xz": places[1:]}
    made = to_constraints([RootPath(**start), RootPath(**path)], frames[-1] + 1, 20.0, HUMANML3D, np.zeros((22, 3)))
    assert made[0].facing == pytest.approx(facing, abs=1e-6)


class TestAnswers:
    def test_a_text_becomes_the_motion_that_the_pipeline_makes(self, client, request_of):
        answer = client.post("/generate", json=request_of((CAPTIONS[0], 40)))
        assert answer.headers["content-type"] == "model/gltf+json"
        document, pipe = answer.json(), client.app.state.service.tasks.generator
        tracks = read_tracks(document)
        made = pipe(CAPTIONS[0], duration=2.0, seed=3)
        assert np.allclose(tracks["pelvis", "translation"], made["joints"][:, 0], atol=1e-5)
        assert np.allclose(tracks["", "time"], np.arange(40) / 20)
        (sample,) = document["extensions"]["MMCP_motion"]["samples"]
        contacts = np.array([sample["foot_contacts"][joint] for joint in ("left_ankle", "left_foot")])
        assert sample["num_frames"] == 40 and np.array_equal(contacts, made["features"][:, -4:-2].T > 0.5)

    @pytest.mark.parametrize("fps", [20.0, 24.0, 30.0, 60.0])
    def test_segments_are_shown_one_after_another_at_the_rate_that_is_asked_for(self, client, request_of, fps):
        frames = [round(seconds * fps) for seconds in (1.1, 0.7, 0.9)]
        body = request_of(*zip(CAPTIONS, frames), timing={"fps": fps})
        document = client.post("/generate", json=body).json()
        tracks, extension = read_tracks(document), document["extensions"]["MMCP_motion"]
        assert extension["fps"] == fps and extension["samples"][0]["num_frames"] == sum(frames)
        assert all(len(track) == sum(frames) for track in tracks.values())
        assert tracks["", "time"][-1] == pytest.approx((sum(frames) - 1) / fps, abs=1e-4)

    def test_samples_differ_and_the_seed_repeats_them(self, client, request_of):
        body = request_of((CAPTIONS[0], 20), options={"seed": 5, "num_samples": 2})
        one, other = (client.post("/generate", json=body).json() for _ in "ab")
        assert one == other and [animation["name"] for animation in one["animations"]] == ["sample_0", "sample_1"]
        assert not np.allclose(read_tracks(one, 0)["pelvis", "rotation"], read_tracks(one, 1)["pelvis", "rotation"])

    def test_guidance_is_that_of_the_pipeline(self, client, request_of):
        pipe, paths = client.app.state.service.tasks.generator, []
        for kind, weight, scale in (("nocfg", [], 1.0), ("regular", [3.0], 3.0), ("separated", [3.0, 2.0], 3.0)):
            options = {"seed": 3, "post_processing": False, "guidance": {"type": kind, "weight": weight}}
            document = client.post("/generate", json=request_of((CAPTIONS[0], 20), options=options)).json()
            paths.append(read_tracks(document)["pelvis", "translation"])
            made = pipe(CAPTIONS[0], duration=1.0, seed=3, guidance_scale=scale)
            assert np.allclose(paths[-1], made["joints"][:, 0], atol=1e-5)

    def test_it_begins_where_the_client_has_the_character(self, client, request_of):
        """The add-on for Blender says so in every request."""
        start = {"type": "root_path", "frames": [0], "positions_xz": [[1.0, 2.0]], "heading_radians": [np.pi / 2]}
        paths = [
            read_tracks(client.post("/generate", json=request_of((CAPTIONS[0], 40), constraints=constraints)).json())
            for constraints in ([], [start])
        ]
        origin, moved = (path["pelvis", "translation"] for path in paths)
        assert np.allclose(moved[0, [0, 2]], [1, 2], atol=1e-5)
        went, goes = origin - origin[0], moved - moved[0]  # a quarter turn brings +z to +x
        assert np.allclose(goes, np.stack([went[:, 2], went[:, 1], -went[:, 0]], -1), atol=1e-4)
        before, after = (Rotation.from_quat(path["pelvis", "rotation"]) for path in paths)
        assert np.allclose((after * before.inv()).as_rotvec(), [0, np.pi / 2, 0], atol=1e-3)

    def test_constraints_are_met(self, client, request_of, processor):
        """In the client's world, on the skeleton that it was told."""
        offsets, middle = rest_offsets(processor.feature_extractor), 20
        start = {"type": "root_path", "frames": [0], "positions_xz": [[1, 2]], "heading_radians": [np.pi / 2]}
        place, wave = [1.2, float(offsets[0, 1]), 2.1], Rotation.from_euler("z", 60, degrees=True).as_quat().tolist()
        pose = {"type": "pose_keyframe", "frame": middle, "joint_rotations": {"left_shoulder": wave}}
        pose |= {"root_position": place, "fill_mode": "rest"}
        point = POINT | {"positions": [[1.4, 1.2, 2.2]]}

        def joints(*constraints: dict) -> np.ndarray:
            answer = client.post("/generate", json=request_of((CAPTIONS[0], 40), constraints=constraints))
            assert answer.status_code == 200, answer.text
            tracks = read_tracks(answer.json())
            local = [Rotation.from_quat(tracks[name, "rotation"]).as_matrix() for name in HUMANML3D.joint_names]
            root = tracks["pelvis", "translation"]
            return forward_kinematics(root, np.stack(local, 1), offsets, HUMANML3D.parents)

        path = joints(PATH)[PATH["frames"], 0][:, [0, 2]]
        assert np.allclose(path, PATH["positions_xz"], atol=0.02)
        wrist = joints(start, point)[middle, HUMANML3D.joint_names.index("left_wrist")]
        assert np.linalg.norm(wrist - point["positions"][0]) < 0.05
        posed = joints(start, pose)[middle]
        local = np.eye(3)[None, None].repeat(22, 1)
        local[0, HUMANML3D.joint_names.index("left_shoulder")] = Rotation.from_quat(wave).as_matrix()
        wanted = forward_kinematics(np.array([place]), local, offsets, HUMANML3D.parents)[0]
        assert np.linalg.norm(posed - wanted, axis=-1).mean() < 0.05

    def test_nothing_is_kept_of_a_request_that_was_answered(self, client, request_of):
        client.post("/generate", json=request_of((CAPTIONS[0], 20)))
        assert client.app.state.service.queue._jobs == {}


class TestRefusals:
    @pytest.mark.parametrize(
        "changes, code, message",
        [
            ({"protocol_version": "2.0"}, "version_unsupported", "this server speaks 1.0"),
            ({"model": "other"}, "unknown_model", "no model 'other'"),
            ({"segments": [{"type": "unconditioned", "duration_frames": 9}]}, "unsupported_segment", "text segments"),
            ({"segments": [{"type": "pose", "prompt": "sit"}]}, "unsupported_segment", "'pose' segments"),
            ({"constraints": [{"type": "ground_height", "points": []}]}, "unsupported_constraint", "ground_height"),
            (
                {"constraints": [POINT | {"joint": "LeftHand"}]},
                "unknown_joint",
                "no joint 'LeftHand': known are pelvis",
            ),
            ({"constraints": [POINT | {"frames": [40]}]}, "frame_out_of_range", "frame 40 is not in a motion of 40"),
            ({"constraints": [POINT | {"positions": [[0, 9, 0]]}]}, "invalid_request", "left_wrist"),
            ({"constraints": [TURN]}, "invalid_request", "a rotation of head moves no joint"),
            ({"constraints": [POINT | {"rotations": [[0, 0, 0, 1]]}]}, "invalid_request", "leave them out"),
            ({"constraints": [PATH] * 65}, "invalid_options", "65 constraints: at most 64"),
            ({"options": {"loop": True}}, "invalid_options", "no options.loop"),
            ({"options": {"num_samples": 9}}, "invalid_options", "at most 8"),
            ({"timing": {"fps": 0.1}}, "invalid_options", "400 seconds are too long: at most 60"),
        ],
    )
    def test_what_is_not_supported_has_the_protocols_code(self, client, request_of, changes, code, message):
        answer = client.post("/generate", json=request_of(("she bows", 40), **changes))
        assert message in refusal(answer, 400, code)

    @pytest.mark.parametrize(
        "prompts, message",
        [
            ([("she bows", 3)], "segment 0 of 3 frames is too short: give 6 or more"),
            ([("she bows", 20), ("she bows", 1), ("she bows", 20)], "segment 1 of 1 frames is too short"),
        ],
    )
    def test_a_segment_shorter_than_a_token_is_refused(self, client, request_of, prompts, message):
        assert message in refusal(client.post("/generate", json=request_of(*prompts)), 400, "invalid_options")

    def test_another_skeleton_is_refused_with_what_to_do(self, client, request_of):
        body = request_of(("she bows", 20))
        for name, value in (("name", "Hips"), ("rest_translation", [0, 2, 0])):
            changed = json.loads(json.dumps(body))
            changed["skeleton"]["joints"][0][name] = value
            if name == "name":
                for joint in changed["skeleton"]["joints"]:
                    joint["parent"] = "Hips" if joint["parent"] == "pelvis" else joint["parent"]
            message = refusal(client.post("/generate", json=changed), 400, "retargeting_unsupported")
            assert "send the canonical_skeleton" in message

    @pytest.mark.parametrize(
        "changes, message",
        [
            ({"segments": []}, "give segments or constraints"),
            ({"duration_frames": 20}, "duration_frames is for requests without segments"),
            ({"timing": {"fps": float("nan")}}, "timing.fps: Input should be a finite number"),
            ({"speed": 2}, "speed: Extra inputs are not permitted"),
        ],
    )
    def test_what_is_no_request_of_the_protocol_is_refused_by_its_field(self, client, request_of, changes, message):
        content = json.dumps(request_of(("she bows", 20), **changes))
        answer = client.post("/generate", content=content, headers={"Content-Type": "application/json"})
        assert message in refusal(answer, 422, "schema_validation")

    def test_a_full_queue_refuses_all_samples_with_the_time_to_wait(self, client, request_of, monkeypatch):
        monkeypatch.setattr(client.app.state.service.queue, "max_waiting", 1)
        answer = client.post("/generate", json=request_of(("she bows", 20), options={"num_samples": 2}))
        refusal(answer, 503, "resource_exhausted")
        assert int(answer.headers["retry-after"]) >= 1


class TestTheProtocolsOwnCode:
    """The protocol's SDK: its schema takes what the server says, its client what it answers."""

    def test_its_schema_knows_every_field_of_the_capabilities(self, client):
        sdk = pytest.importorskip("motionmcp")
        said = client.get("/capabilities").json()
        spec = sdk.ModelSpec.model_validate(said["models"][0])
        assert spec.canonical_skeleton.root.name == "pelvis" and spec.supported_segments == ["text"]

    def test_its_schema_and_ours_take_the_same_requests(self, client, request_of):
        sdk = pytest.importorskip("motionmcp")
        body = request_of((CAPTIONS[0], 40), (CAPTIONS[1], 20), timing={"fps": 24.0})
        sent = sdk.GenerateRequest.model_validate(body).model_dump(mode="json")  # with its defaults
        assert client.post("/generate", json=sent).status_code == 200

    def test_its_client_reads_the_answer(self, model_folder, request_of):
        mmcp = pytest.importorskip("motionmcp.client")
        uvicorn = pytest.importorskip("uvicorn")
        app = build_app(ModelTasks(str(model_folder)))
        server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="error"))
        thread = threading.Thread(target=server.run)
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            address = f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
            probe = mmcp.probe_server(address)
            assert probe.ok and mmcp.pick_model(probe.capabilities)["fps"] == 20.0
            document = mmcp.generate(address, request_of((CAPTIONS[0], 40)))
            with pytest.raises(mmcp.MmcpError) as refused:
                mmcp.generate(address, request_of((CAPTIONS[0], 40), model="other"))
        finally:
            server.should_exit = True
            thread.join()
        motion = mmcp.parse_gltf(document)
        assert (motion["num_frames"], motion["fps"]) == (40, 20.0)
        assert tuple(motion["joint_names"]) == HUMANML3D.joint_names
        tracks = read_tracks(document)
        assert np.allclose(motion["posed_joints"][:, 0], tracks["pelvis", "translation"], atol=1e-5)
        assert motion["foot_contacts"].shape == (40, 22)
        assert refused.value.code == "unknown_model"
