"""`evaluate baselines`: the judge of folders on systems whose order is known, and the table on a page."""

import numpy as np
import pytest
import torch
from conftest import CAPTIONS, make_motion
from datasets import Dataset
from training_stages import evaluate

from lamp_hf.evaluators.motion_evaluator import MotionEvaluatorConfig, MotionEvaluatorModel
from training.evaluation.baselines import write_table


def test_five_systems_are_judged_on_the_same_prompts(tmp_path, model_folder, processor, bert_folder):
    torch.manual_seed(0)
    sizes = {"width": 8, "embedding_size": 8, "text_encoder": str(bert_folder), "text_size": 16}
    MotionEvaluatorModel(MotionEvaluatorConfig(actions=["walk"], styles=["calm"], **sizes)).save_pretrained(
        tmp_path / "judge"
    )
    processor.feature_extractor.save_pretrained(tmp_path / "judge")
    rows = [
        {
            "name": f"{split}{i}",
            "split": split,
            "joints_mm": (1000 * make_motion(21, seed=i)).round().astype(np.int16).ravel(),
            "captions": [CAPTIONS[i % 4]],
        }
        for split, count in (("train", 40), ("test", 64))
        for i in range(count)
    ]
    Dataset.from_list(rows).to_parquet(tmp_path / "clips.parquet")
    (tmp_path / "page.md").write_text("# Page\n<!-- baselines -->\nold\n<!-- /baselines -->\nend\n")
    options = ("--data", tmp_path / "clips.parquet", "--model", model_folder, "--evaluator", tmp_path / "judge")
    options += ("--sentence-encoder", bert_folder, "--page", tmp_path / "page.md")
    numbers = evaluate("baselines", tmp_path / "numbers.json", *options)
    systems = numbers["systems"]
    assert numbers["prompts"] == 32
    assert list(systems) == [
        "real clips",
        model_folder.name,
        "nearest training clips",
        "other training clips",
        "noise",
    ]
    assert max(systems, key=lambda name: systems[name]["physics"]["jitter_m_s3"]) == "noise"
    assert max(systems, key=lambda name: systems[name]["distribution"]["frechet_distance"]) == "noise"
    assert all(report["text"]["gallery"] == 32 and "samples" not in report for report in systems.values())
    page = (tmp_path / "page.md").read_text()
    assert page.startswith("# Page") and page.endswith("end\n") and "old" not in page and "| noise |" in page
    assert "32 prompts of clips.parquet, test split, seed 0" in page


def test_a_page_without_marks_is_refused(tmp_path):
    (tmp_path / "page.md").write_text("# Page\n")
    with pytest.raises(ValueError, match="has no marks"):
        write_table(tmp_path / "page.md", "table")
    assert (tmp_path / "page.md").read_text() == "# Page\n"
