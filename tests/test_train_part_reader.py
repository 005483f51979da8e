"""The reader of parts inside a generator."""

import pytest
import torch
from conftest import CAPTIONS, tiny_text_to_motion
from training_stages import INPUTS, changed_parts, tiny_recipe, train, weights

from training.train_part_reader import PartReaderObjective
from training.train_part_reader import build as add_reader
from training.train_text_to_motion import build


def test_only_the_reader_is_trained(stage_folder):
    assert changed_parts(weights(stage_folder("text_to_motion")), weights(stage_folder("part_reader"))) == {
        "part_reader"
    }


def test_the_generator_continues_with_its_reader(tmp_path, odd_clips_folder, bert_folder, stage_folder):
    recipe, reader = tiny_recipe(tmp_path, "text_to_motion", bert_folder), stage_folder("part_reader")
    inputs = [part for name in INPUTS["text_to_motion"] for part in (f"--{name}", stage_folder(name) / "model")]
    start = ("--set", f"start={reader / 'model'}", "model.part_reader_size=16")
    train("text_to_motion", "--recipe", recipe, "--data", odd_clips_folder, *inputs, "--output", tmp_path, *start)
    assert changed_parts(weights(reader), weights(tmp_path)) == {"transformer", "length_predictor"}


def test_it_learns_the_kind_of_sentences_and_the_conditions_of_both_parts(processor):
    model = tiny_text_to_motion(processor, part_reader_size=16, dropout=0.0)
    objective = PartReaderObjective(model).train()
    batch = dict(processor(text=CAPTIONS)) | {"kinds": torch.tensor([0, 1, 2, 1])}
    batch["conditions"] = torch.randn(4, 2, 1, 32, generator=torch.Generator().manual_seed(0))
    optimizer = torch.optim.Adam(model.part_reader.requires_grad_(True).parameters(), lr=1e-2)
    losses = []
    for _ in range(150):
        loss, logs = objective(**batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    assert logs["kind"] == 1 and logs["error"] < 0.2


def test_a_reader_of_another_lamp_is_refused(tmp_path, processor):
    """Its parts are conditions of the LaMP that it was trained with."""
    trained = tiny_text_to_motion(processor, part_reader_size=16)
    for name, model in (("start", trained), ("lamp", trained.lamp), ("tokenizer", trained.vqvae)):
        model.save_pretrained(tmp_path / name)
        processor.save_pretrained(tmp_path / name)
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "part_reader_size")
    given = {name: getattr(trained.config, name) for name in sizes}
    build_recipe = {"seed": 0, "start": str(tmp_path / "start"), "plain_text_encoder": None, "model": given}
    assert build(build_recipe, tmp_path / "tokenizer", tmp_path / "lamp")
    torch.nn.init.normal_(trained.lamp.get_input_embeddings().weight)
    trained.lamp.save_pretrained(tmp_path / "lamp")
    with pytest.raises(ValueError, match="--lamp is not the one that the part reader"):
        build(build_recipe, tmp_path / "tokenizer", tmp_path / "lamp")
    with pytest.raises(ValueError, match="there is no reader to train"):
        add_reader(tmp_path / "start", 0)
