"""The HTTP interface: jobs, files, limits and errors, with a tiny model in this process and in one of its own."""

import http.client
import io
import json
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from conftest import CAPTIONS, free_port, make_clip

import lamp_hf


pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from lamp_hf.models.motion_loops import Cycle
from lamp_hf.serve import gate
from lamp_hf.serve.api import build_app
from lamp_hf.serve.limits import Limits
from lamp_hf.serve.tasks import ModelTasks


WALK = {"text": CAPTIONS[0], "duration": 1.0, "seed": 3}


@pytest.fixture(scope="module")
def gallery(lamp_folder, tmp_path_factory):
    index = lamp_hf.MotionIndex(lamp_folder)
    index.add([make_clip(seed=seed) for seed in range(5)], ids=list("abcde"))
    folder = tmp_path_factory.mktemp("served") / "gallery"
    index.save(folder)
    return folder


@pytest.fixture(scope="module")
def tasks(familiar_folder, gallery) -> ModelTasks:
    return ModelTasks(str(familiar_folder), gallery)


@pytest.fixture(scope="module")
def client(tasks):
    with TestClient(build_app(tasks), raise_server_exceptions=False) as client:
        yield client


def post(client, task: str, **options) -> dict:
    answer = client.post(f"/jobs/{task}?wait=60", **options)
    assert answer.status_code == 200, answer.text
    return answer.json()


def refusal(answer, status: int, code: str) -> str:
    """Return the message of an error, which is one line and names no folder."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert error["code"] == code and "\n" not in error["message"] and "/tmp" not in error["message"]
    return error["message"]


def upload(motion, name: str, tmp_path) -> dict:
    return {"motion": (name, motion.save(tmp_path / name).read_bytes())}


class TestGenerating:
    def test_a_text_becomes_the_motion_that_the_pipeline_makes(self, client, tasks):
        job = post(client, "generate", json=WALK)
        assert (job["task"], job["status"]) == ("generate", "done")
        assert job["result"] | {"seconds": 1.0, "frames": 20, "fps": 20.0, "seed": 3} == job["result"]
        assert 0 <= job["result"]["familiarity"] <= 1 and job["result"]["unfamiliar"] is False
        made = tasks.generator(WALK["text"], duration=1.0, seed=3)
        features = np.load(io.BytesIO(client.get(job["files"]["features.npy"]).content))
        assert np.array_equal(features, made["features"])
        motion = client.get(job["files"]["motion.json"]).json()
        assert np.abs(np.array(motion["joints"]) - made["joints"]).max() < 1e-5
        assert motion["joint_names"][0] == "pelvis" and motion["text"] == WALK["text"]

    @pytest.mark.parametrize("suffix", [".npz", ".bvh"])
    def test_files_can_be_read_back(self, client, tasks, tmp_path, suffix):
        job = post(client, "generate", json=WALK)
        (tmp_path / f"walk{suffix}").write_bytes(client.get(job["files"][f"motion{suffix}"]).content)
        motion = lamp_hf.Motion.load(tmp_path / f"walk{suffix}")
        made = tasks.generator(WALK["text"], duration=1.0, seed=3)
        assert motion.num_frames == 20 and np.abs(motion.joints - made["joints"]).max() < 0.03

    def test_a_glb_is_a_glb(self, client):
        answer = client.get(post(client, "generate", json=WALK)["files"]["motion.glb"])
        assert answer.content[:4] == b"glTF" and answer.headers["content-type"] == "model/gltf-binary"

    def test_segments_follow_one_another(self, client, tasks):
        segments = [{"text": CAPTIONS[0], "duration": 1.0}, {"text": CAPTIONS[3], "duration": 0.6}]
        job = post(client, "generate", json={"segments": segments, "seed": 1})
        assert job["result"]["text"] == f"{CAPTIONS[0]}, then {CAPTIONS[3]}" and job["result"]["seconds"] == 1.6

    def test_the_best_of_several_candidates_is_kept_and_its_seed_told(self, client, tasks):
        job = post(client, "generate", json=WALK | {"num_candidates": 3})
        assert job["result"]["seed"] == tasks.generator(CAPTIONS[0], duration=1.0, seed=3, num_candidates=3)["seed"]

    def test_without_a_seed_one_is_drawn_and_told(self, client):
        seeds = {post(client, "generate", json={"text": "she bows", "duration": 0.4})["result"]["seed"] for _ in "ab"}
        assert len(seeds) == 2

    def test_an_unfamiliar_text_is_marked(self, client):
        assert post(client, "generate", json={"text": "left person hand", "duration": 1.0})["result"]["unfamiliar"]

    def test_jobs_that_wait_together_make_the_same_motions_as_alone(self, client, tasks):
        def features(path: str) -> np.ndarray:
            return np.load(io.BytesIO(client.get(path).content))

        alone = [post(client, "generate", json=WALK | {"seed": seed})["files"]["features.npy"] for seed in range(6)]
        tasks_done = []
        taken, blocked, work = threading.Event(), threading.Event(), tasks.work

        def watched(task: str, requests: list) -> list:
            taken.set()
            blocked.wait(30)
            tasks_done.append(len(requests))
            return work(task, requests)

        queue = client.app.state.service.queue
        queue._work, before = watched, queue._work
        try:
            ids = []
            for seed in range(6):
                ids.append(client.post("/jobs/generate", json=WALK | {"seed": seed}).json()["id"])
                assert taken.wait(30)  # the first is at work when the others come
            blocked.set()
            for job_id, path in zip(ids, alone):
                assert client.get(f"/jobs/{job_id}?wait=60").json()["status"] == "done"
                assert np.allclose(features(f"/jobs/{job_id}/features.npy"), features(path), atol=1e-5)
        finally:
            queue._work = before
        assert tasks_done == [1, 5]


class TestOtherTasks:
    def test_the_gallery_is_searched_by_text_by_motion_or_both(self, client, tmp_path):
        files = upload(make_clip(seed=2), "clip.bvh", tmp_path)
        for query in (
            {"data": {"text": "she bows"}},
            {"files": files},
            {"data": {"text": "she bows"}, "files": files},
        ):
            query["data"] = query.get("data", {}) | {"k": "3"}
            hits = post(client, "search", **query)["result"]["hits"]
            assert len(hits) == 3 and hits[0]["score"] >= hits[1]["score"]
        assert post(client, "search", files=files)["result"]["hits"][0]["id"] == "c"

    def test_a_file_is_converted(self, client, tmp_path):
        clip = make_clip(2.0)
        job = client.post("/jobs/convert", files=upload(clip, "walk.bvh", tmp_path), data={"fps": "30"}).json()
        assert job["status"] == "done" and job["result"]["fps"] == 30.0 and job["result"]["text"] == "walk.bvh"
        (tmp_path / "back.npz").write_bytes(client.get(job["files"]["motion.npz"]).content)
        assert abs(lamp_hf.Motion.load(tmp_path / "back.npz").duration - clip.duration) < 0.1
        assert np.load(io.BytesIO(client.get(job["files"]["features.npy"]).content)).shape[1] == 263

    def test_a_converted_file_keeps_its_axes_its_text_and_its_loop(self, client, tmp_path):
        """Lies along +z, which a guess would take for standing in a world with Z up."""
        x, y, z = np.moveaxis(make_clip(2.0).in_place().joints, -1, 0)
        cycle = Cycle(0.0, 2.05, (0.5, 0.1), 10.0)
        clip = lamp_hf.Motion(np.stack([x, -z, y], -1), text="a person turns in bed", cycle=cycle)
        job = client.post("/jobs/convert", files=upload(clip, "bed.npz", tmp_path)).json()
        assert job["status"] == "done" and job["result"]["text"] == "a person turns in bed"
        (tmp_path / "back.npz").write_bytes(client.get(job["files"]["motion.npz"]).content)
        back = lamp_hf.Motion.load(tmp_path / "back.npz")
        assert np.array_equal(back.joints, clip.joints) and back.cycle == cycle and back.text == clip.text
        assert b'"loop":{"start":0.0,"end":2.05,"travel":[0.5,0.1]' in client.get(job["files"]["motion.glb"]).content

    def test_a_file_is_captioned(self, client, captioner_folder, tmp_path, monkeypatch):
        from transformers import pipeline

        monkeypatch.setitem(
            client.app.state.service.tasks.__dict__, "_captioner", pipeline("motion-to-text", model=captioner_folder)
        )
        job = post(client, "caption", files=upload(make_clip(3.0), "walk.npz", tmp_path))
        assert isinstance(job["result"]["text"], str) and job["result"]["parts"][0]["start"] == 0.0


class TestJobs:
    def test_a_refused_text_fails_alone_in_its_batch(self, tasks):
        from lamp_hf.serve.tasks import Prompt

        long = " ".join(["person"] * 40)  # more words than the model reads
        made = tasks.work("generate", [Prompt((text,), (1.0,), 0) for text in (CAPTIONS[0], long, CAPTIONS[1])])
        assert isinstance(made[1], ValueError) and made[0].motion.num_frames == made[2].motion.num_frames == 20

    def test_over_http_a_job_is_cancelled_and_a_result_dropped(self, client):
        job = post(client, "generate", json=WALK)
        assert client.delete(f"/jobs/{job['id']}").status_code == 204
        assert "there is no job" in refusal(client.get(f"/jobs/{job['id']}"), 404, "not_found")
        release, queue = threading.Event(), client.app.state.service.queue
        work, queue._work = queue._work, lambda task, requests: release.wait(30) and work(task, requests)
        try:
            running, waiting = (client.post("/jobs/generate", json=WALK) for _ in "ab")
            assert (running.status_code, waiting.status_code) == (202, 202)
            assert waiting.headers["location"] == f"/jobs/{waiting.json()['id']}"
            path = waiting.headers["location"]
            assert "the job is" in refusal(client.get(f"{path}/motion.bvh"), 409, "not_ready")
            assert client.delete(path).status_code == 204 and client.get(path).json()["status"] == "cancelled"
        finally:
            release.set()
            queue._work = work
        assert client.get(running.headers["location"] + "?wait=60").json()["status"] == "done"


class TestBadInput:
    @pytest.mark.parametrize(
        "body, status, message",
        [
            ({}, 422, "give either a text or segments"),
            ({"text": ""}, 400, "the text is empty: describe what the person does, in a sentence"),
            ({"text": " \n "}, 400, "the text is empty"),
            ({"text": "walk " * 101}, 400, "at most 500 are read"),
            ({"text": "walk", "duration": 1e9}, 400, "1e+09 seconds are too long: at most 60 are generated"),
            ({"text": "walk", "duration": -1}, 422, "duration: Input should be greater than 0"),
            ({"text": "walk", "duration": 0.01}, 400, "the duration is too short: give 0.2 seconds or more"),
            ({"text": "walk", "duration": "long"}, 422, "duration: Input should be a valid number"),
            ({"text": "walk", "seed": -1}, 422, "seed: Input should be greater than or equal to 0"),
            ({"text": "walk", "num_candidates": 99}, 422, "num_candidates: Input should be less than or equal to 8"),
            ({"text": "walk", "prompt": "run"}, 422, "prompt: Extra inputs are not permitted"),
            ({"segments": [{"text": "walk"}] * 7}, 400, "too many texts, or parts of texts: at most 6 make a motion"),
            ({"segments": [{"text": "walk", "duration": 20}] * 4}, 400, "80 seconds are too long"),
            ({"text": "go. " * 125}, 400, "at most 6 make a motion"),
            ({"segments": [{"text": "walk, then sit", "duration": 5}] * 4}, 400, "at most 6 make a motion"),
            ({"segments": [{"text": "walk", "duration": 50}, {"text": "run, then sit"}]}, 400, "69.6 seconds are too"),
            ({"segments": [{"text": "walk"}], "duration": 2}, 422, "give each segment its duration"),
            ([], 422, "Input should be"),
        ],
    )
    def test_requests_that_make_no_motion_are_refused_in_a_line(self, client, body, status, message):
        code = {400: "invalid_request", 422: "schema_validation"}[status]
        assert message in refusal(client.post("/jobs/generate", json=body), status, code)

    def test_what_the_model_may_choose_is_within_the_limits(self, tasks):
        walks = [{"text": "walk"}] * 6
        with TestClient(build_app(tasks, Limits(max_seconds=10.0))) as client:
            message = refusal(client.post("/jobs/generate", json={"segments": walks}), 400, "invalid_request")
            assert message.startswith("58.8 seconds are too long: at most 10 are generated")
            assert message.endswith("a part without a duration may take 9.8")
        with TestClient(build_app(tasks, Limits(max_seconds=5.0))) as client:
            refusal(client.post("/jobs/generate", json={"text": "walk"}), 400, "invalid_request")
            assert post(client, "generate", json=WALK)["status"] == "done"
            assert post(client, "search", data={"text": "she bows"})["status"] == "done"

    @pytest.mark.parametrize("number", ["NaN", "Infinity"])
    def test_numbers_that_are_none_are_refused(self, client, number):
        body = f'{{"text": "walk", "duration": {number}}}'
        answer = client.post("/jobs/generate", content=body, headers={"Content-Type": "application/json"})
        assert "duration: Input should be a finite number" in refusal(answer, 422, "schema_validation")

    def test_a_body_that_is_no_json_is_refused(self, client):
        answer = client.post("/jobs/generate", content="{", headers={"Content-Type": "application/json"})
        assert "the body is not valid JSON" in refusal(answer, 422, "schema_validation")

    def test_a_text_of_too_many_words_fails_with_the_reason(self, client):
        job = post(client, "generate", json={"text": " ".join(["person"] * 40), "duration": 1.0})
        assert job["status"] == "failed" and "\n" not in job["error"]["message"]
        message = refusal(client.get(f"/jobs/{job['id']}/motion.bvh"), 400, "invalid_request")
        assert message == job["error"]["message"]

    def test_an_unknown_format_path_or_method_is_named(self, client):
        job = post(client, "generate", json=WALK)
        message = refusal(client.get(f"/jobs/{job['id']}/motion.fbx"), 404, "not_found")
        assert message.startswith("there is no file 'motion.fbx' of a motion: known are motion.npz, motion.bvh,")
        assert "/docs lists what there is" in refusal(client.get("/generation"), 404, "not_found")
        refusal(client.put("/jobs/generate"), 405, "method_not_allowed")

    @pytest.mark.parametrize(
        "name, content, message",
        [
            ("photo.jpg", b"\xff\xd8", "cannot read photo.jpg: give a file that ends in .npy, .npz, .bvh"),
            ("walk.amc", b":DEGREES", "cannot read walk.amc: give a file that ends in"),  # its .asf is not there
            ("walk.bvh", b"no motion", "walk.bvh"),
            ("../../etc/walk.npz", b"PK\x03\x04", "walk.npz"),
            ("walk.npy", b"", "walk.npy"),
        ],
    )
    def test_a_file_that_is_no_motion_is_refused_by_name(self, client, name, content, message):
        answer = client.post("/jobs/caption", files={"motion": (name, content)})
        assert message in refusal(answer, 400, "invalid_request")

    def test_the_documentation_names_what_can_be_uploaded(self, client):
        forms = client.get("/openapi.json").json()["components"]["schemas"]
        fields = [form["properties"]["motion"] for name, form in forms.items() if name.startswith("Body_c")]
        assert [field["description"] for field in fields] == ["A motion file (.npy, .npz, .bvh)."] * 2

    def test_a_motion_that_is_too_long_is_refused(self, client, tmp_path):
        answer = client.post("/jobs/convert", files=upload(make_clip(62.0), "long.npy", tmp_path))
        assert "lasts 62" in refusal(answer, 400, "invalid_request")

    def test_a_form_without_its_file_is_refused(self, client):
        assert refusal(client.post("/jobs/caption"), 422, "schema_validation") == "motion: Field required"
        assert "nothing to search for" in refusal(client.post("/jobs/search"), 400, "invalid_request")

    def test_a_server_without_a_gallery_says_so(self, tasks, monkeypatch):
        monkeypatch.setattr(tasks, "index", None)
        with TestClient(build_app(tasks)) as client:
            assert "--gallery" in refusal(client.post("/jobs/search", data={"text": "a"}), 400, "invalid_request")


class TestGate:
    def test_a_large_upload_is_refused_without_a_byte_of_it_read(self, client):
        def content():
            raise AssertionError("the body was read")
            yield b""

        headers = {"Content-Length": str(10**9), "Content-Type": "multipart/form-data; boundary=x"}
        answer = client.post("/jobs/caption", content=content(), headers=headers)
        assert "at most 20 MB are read" in refusal(answer, 413, "payload_too_large")

    def test_an_upload_without_a_size_is_refused_once_it_is_too_large(self, tasks):
        sent = []

        def content():
            yield b'--x\r\nContent-Disposition: form-data; name="motion"; filename="a.npy"\r\n\r\n'
            for _ in range(100):
                sent.append(1)
                yield bytes(10_000)

        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        with TestClient(build_app(tasks, Limits(max_upload=50_000))) as client:
            answer = client.post("/jobs/caption", content=content(), headers=headers)
        assert "at most 0.05 MB are read" in refusal(answer, 413, "payload_too_large")

    def test_a_large_json_is_refused(self, client):
        answer = client.post("/jobs/generate", json={"text": "a" * gate.MAX_JSON})
        assert "at most 1 MiB" in refusal(answer, 413, "payload_too_large")

    def test_with_a_token_only_those_who_have_it_come_in(self, tasks):
        with TestClient(build_app(tasks, token="secret")) as client:
            assert client.get("/health").json()["status"] == "ok"
            assert client.get("/openapi.json").json()["components"]["securitySchemes"]
            for header in ({}, {"Authorization": "Bearer other"}, {"Authorization": "Basic secret"}):
                answer = client.post("/jobs/generate", json=WALK, headers=header)
                message = refusal(answer, 401, "unauthorized")
                assert message.endswith("send the header Authorization: Bearer TOKEN")
                assert answer.headers["www-authenticate"] == "Bearer"
            client.headers["Authorization"] = "Bearer secret"
            assert client.post("/jobs/generate", json=WALK).status_code == 202


def test_an_error_on_the_server_tells_nothing_of_it(client, monkeypatch):
    monkeypatch.setattr(client.app.state.service.tasks, "_generate", lambda prompts: 1 / 0)
    job = post(client, "generate", json=WALK)
    assert job["error"] == {
        "code": "internal_error",
        "message": "something went wrong on the server; please try something else",
        "details": {},
    }


def test_the_page_lists_every_request(client):
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/jobs/generate", "/jobs/caption", "/jobs/search", "/jobs/convert", "/jobs/{job_id}"} <= set(paths)
    assert "swagger" in client.get("/docs").text


@pytest.fixture
def running(model_folder):
    """A server as a process of its own, and its port."""
    port = free_port()
    command = [sys.executable, "-m", "lamp_hf", "serve", "--port", str(port), "--model", str(model_folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    yield process, port
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_a_server_starts_serves_and_stops_at_ctrl_c(running):
    process, port = running
    line = process.stdout.readline()
    assert line.startswith("lamp-hf: model")
    assert line.endswith(f" at http://127.0.0.1:{port}, documentation at /docs; Ctrl-C stops\n")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/jobs/generate?wait=60", json.dumps(WALK), {"Content-Type": "application/json"})
    job = json.loads(connection.getresponse().read())
    connection.request("GET", job["files"]["motion.bvh"])
    assert connection.getresponse().read().startswith(b"HIERARCHY")
    # a gigabyte that is announced, and never sent
    connection.putrequest("POST", "/jobs/caption")
    connection.putheader("Content-Type", "multipart/form-data; boundary=x")
    connection.putheader("Content-Length", str(10**9))
    connection.endheaders()
    assert connection.getresponse().status == 413
    process.send_signal(signal.SIGINT)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed, errors) == (0, "", "")


@pytest.mark.slow
def test_a_port_that_is_taken_is_named(running):
    process, port = running
    process.stdout.readline()
    command = [sys.executable, "-m", "lamp_hf", "serve", "--port", str(port)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith(f"lamp-hf: cannot serve at 127.0.0.1:{port}: ") and "choose another" in done.stderr


def test_without_fastapi_the_verb_says_what_to_install():
    code = "import sys; sys.modules['fastapi'] = None; from lamp_hf.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, "serve"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == "lamp-hf: the server needs fastapi: pip install fastapi uvicorn python-multipart\n"
