"""Stage 4: the language model and the captioner."""

import numpy as np
import torch
from training_stages import tiny_recipe, train
from transformers import pipeline


def test_the_adapter_alone_is_saved_and_changes_what_the_language_model_reads(
    tmp_path, odd_clips_folder, bert_folder, stage_folder
):
    recipe = tiny_recipe(tmp_path, "captioner", bert_folder, learning_rate=0.1)
    paths = (
        "--qformer",
        stage_folder("lamp_qformer") / "model",
        "--language-model",
        stage_folder("language_model") / "model",
    )
    train("captioner", "--recipe", recipe, "--data", odd_clips_folder, *paths, "--output", tmp_path)
    motion = np.load(odd_clips_folder / "new_joint_vecs" / "000000.npy")
    trained, untrained = (pipeline("motion-to-text", model=str(tmp_path / name)) for name in ("model", "base"))
    values = trained.preprocess(motion)
    soft = [pipe.model.get_soft_tokens(**values) for pipe in (trained, untrained)]
    assert not torch.equal(*soft) and trained(motion)[0]["generated_text"] is not None
    assert not list((tmp_path / "model").glob("model*.safetensors"))
