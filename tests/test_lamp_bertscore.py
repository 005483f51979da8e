"""LaMP-BertScore as a metric of `evaluate`, called as users do."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import make_motion

import lamp_hf
from lamp_hf.metrics.bertscore import BertScorer
from lamp_hf.metrics.motion_bertscore import derangement, lamp_bertscore


MOTIONS = [make_motion(40 + 4 * i, seed=i).astype(np.float32) for i in range(4)]
TEXTS = ["a person walks forward", "someone waves", "a man turns to the right", "she bows"]


@pytest.fixture(scope="module")
def options(captioner_folder) -> dict:
    return {"captioner": str(captioner_folder)}


@pytest.fixture(scope="module")
def expected(options) -> dict:
    return lamp_bertscore(MOTIONS, TEXTS, **options)


@pytest.fixture
def metric(monkeypatch):
    monkeypatch.setenv("HF_EVALUATE_OFFLINE", "1")
    import evaluate

    return evaluate.load(lamp_hf.metrics.path("lamp_bertscore"))


def test_it_is_the_bertscore_of_the_captions(options, expected, captioner_folder):
    from transformers import pipeline

    answers = pipeline("motion-to-text", model=str(captioner_folder))(MOTIONS)
    assert expected["captions"] == [answer[0]["generated_text"] for answer in answers]
    scores = BertScorer()(expected["captions"], TEXTS)
    assert expected["f1"] == scores.f1.tolist() and expected["lamp_bertscore"] == pytest.approx(scores.f1.mean())
    assert len(expected["precision"]) == len(expected["recall"]) == 4
    assert "captioner=captioner" in expected["hashcode"] and scores.hashcode in expected["hashcode"]


def test_joints_features_batches_and_references_give_the_same_scores(metric, options, expected):
    features = [lamp_hf.joints_to_features(joints) for joints in MOTIONS]
    assert metric.compute(predictions=MOTIONS, references=TEXTS, **options) == expected
    result = metric.compute(predictions=features, references=TEXTS, **options)
    np.testing.assert_allclose(result["f1"], expected["f1"], atol=1e-5)
    for motion, text in zip(MOTIONS[:2], TEXTS):
        metric.add(prediction=motion, reference=text)
    metric.add_batch(predictions=MOTIONS[2:], references=TEXTS[2:])
    np.testing.assert_allclose(metric.compute(**options)["f1"], expected["f1"], atol=1e-5)
    several = metric.compute(predictions=MOTIONS, references=[[text, "a cat"] for text in TEXTS], **options)
    assert all(best >= one - 1e-6 for best, one in zip(several["f1"], expected["f1"]))


def test_it_combines_with_other_metrics(metric, options, expected):
    import evaluate

    both = evaluate.combine({"a": metric, "b": evaluate.load(lamp_hf.metrics.path("lamp_bertscore"))})
    result = both.compute(predictions=MOTIONS, references=TEXTS, **options)
    assert result["a_lamp_bertscore"] == result["b_lamp_bertscore"] == pytest.approx(expected["lamp_bertscore"])


def test_calibration_gives_the_bounds(options):
    result = lamp_bertscore(MOTIONS, TEXTS, calibrate=True, real=MOTIONS, **options)
    assert result["real"] == pytest.approx(result["lamp_bertscore"])
    assert set(result) >= {"shuffled", "real_f1", "shuffled_f1"} and result["shuffled_f1"] != result["real_f1"]
    assert not (derangement(50, np.random.default_rng(0)) == np.arange(50)).any()
    with pytest.raises(ValueError, match="as many real motions"):
        lamp_bertscore(MOTIONS, TEXTS, calibrate=True, real=MOTIONS[:2], **options)


@pytest.mark.parametrize(
    ("motions", "texts", "message"),
    [
        (MOTIONS, TEXTS[:2], "4 predictions but 2 references"),
        (MOTIONS[:1], [""], "prediction 0 has an empty reference"),
        ([np.full((40, 22, 3), np.nan)], ["walks"], "NaN"),
        ([MOTIONS[0][:3]], ["walks"], "too short"),
        ([], [], "no predictions"),
    ],
)
def test_invalid_input_is_refused(options, motions, texts, message):
    with pytest.raises(ValueError, match=message):
        lamp_bertscore(motions, texts, **options)


def test_invalid_options_are_refused_before_any_work(options):
    with pytest.raises(ValueError, match="no baseline"):
        lamp_bertscore([np.zeros((0, 22, 3))], ["walks"], rescale=True, **options)


FRESH = """
import json, sys
import lamp_hf, evaluate
import numpy as np
arguments = json.loads(sys.argv[1])
metric = evaluate.load("lamp_bertscore", **arguments["load"])
rows = range(*arguments["rows"])
motions = np.load(arguments["motions"])
metric.add_batch(predictions=[motions[i] for i in rows], references=[arguments["texts"][i] for i in rows])
result = metric.compute(captioner=arguments["captioner"])
print(json.dumps(result and result["f1"]))
"""


def fresh(tmp_path, captioner: str, rows: tuple[int, int], **load) -> subprocess.Popen:
    """Start a process that loads the metric by its bare name, offline, with an empty cache."""
    motions = tmp_path / "motions.npy"
    if not motions.exists():
        np.save(motions, np.stack([motion[:40] for motion in MOTIONS]))
    arguments = {"load": load, "rows": rows, "motions": str(motions), "texts": TEXTS, "captioner": captioner}
    environment = os.environ | {"HF_HOME": str(tmp_path / "home"), "HF_EVALUATE_OFFLINE": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", FRESH, json.dumps(arguments)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, stdin=subprocess.DEVNULL
    )


def answer(process: subprocess.Popen):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    return json.loads(output.splitlines()[-1])


@pytest.mark.slow
def test_its_bare_name_works_offline_and_two_processes_agree_with_one(tmp_path, options):
    captioner = options["captioner"]
    one = answer(fresh(tmp_path, captioner, (0, 4)))
    parts = [
        fresh(tmp_path, captioner, rows, num_process=2, process_id=rank, experiment_id="two")
        for rank, rows in enumerate([(0, 2), (2, 4)])
    ]
    first, second = map(answer, parts)
    assert second is None
    np.testing.assert_allclose(first, one, atol=1e-5)


def test_an_unknown_metric_is_refused():
    with pytest.raises(ValueError, match="no metric"):
        lamp_hf.metrics.path("bleu")
