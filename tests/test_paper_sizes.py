"""The paper's sizes, by the recipes in training/recipes/base."""

import shutil

import pytest
from conftest import CAPTIONS
from training_stages import INPUTS, ROOT, command, run
from transformers import BertConfig, BertModel, BertTokenizer


@pytest.mark.slow
def test_the_papers_sizes_start_step_save_and_resume(tmp_path, humanml3d_folder, language_folder, capsys):
    """With an untrained BERT-base and two clips a batch; prints how long a step takes."""
    bert = tmp_path / "bert"
    words = sorted({word for caption in CAPTIONS for word in caption.split()})
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]
    vocabulary += [f"[unused{i}]" for i in range(30522 - len(vocabulary))]
    BertTokenizer(vocab={word: i for i, word in enumerate(vocabulary)}).save_pretrained(bert)
    BertModel(BertConfig()).save_pretrained(bert)
    quick = ["optimization.batch_size=2", "optimization.num_workers=0", "evaluation_steps=100"]
    for stage in ("tokenizer", "lamp", "text_to_motion", "lamp_qformer"):
        earlier = [
            part for name, other in INPUTS.get(stage, {}).items() for part in (f"--{name}", tmp_path / other / "model")
        ]
        recipe, output = ROOT / f"training/recipes/base/{stage}.yaml", tmp_path / stage
        changes = [f"text_encoder={bert}"] * stage.startswith("lamp") + quick
        for steps in (1, 2):
            log = run(
                tmp_path,
                *command(stage, "--recipe", recipe, "--data", humanml3d_folder, "--output", output, *earlier),
                *("--set", f"optimization.max_steps={steps}", *changes),
            )
            with capsys.disabled():
                print(f"\n{stage}, step {steps}:", next(line for line in log.splitlines() if "a step" in line))
        assert (output / "checkpoints" / "step_00000002").is_dir() and (output / "model").is_dir()
        shutil.rmtree(output / "checkpoints")  # gigabytes
    paths = ("--lamp", tmp_path / "lamp" / "model", "--language-model", language_folder)
    paths += ("--output", tmp_path / "m2t")
    recipe = ROOT / "training/recipes/base/captioner.yaml"  # OPT-2.7B is too large for a test
    changes = ("--set", "optimization.max_steps=1", *quick)
    run(tmp_path, *command("captioner", "--recipe", recipe, "--data", humanml3d_folder, *paths, *changes))
    assert (tmp_path / "m2t" / "model" / "adapter_model.safetensors").is_file()
