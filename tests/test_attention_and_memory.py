"""Attention may be named and activations recomputed in every model that is trained; neither changes what it learns."""

import pytest
import torch
from conftest import tiny_qformer_config, tiny_text_to_motion
from test_lamp_pretraining import OBJECTIVES, new_batch, new_model
from test_lavimo import new_model as new_lavimo

import lamp_hf
from lamp_hf.evaluators.motion_evaluator import MotionEvaluatorConfig, MotionEvaluatorModel
from lamp_hf.models.modeling_lamp_qformer_pretraining import LampQFormerForPreTraining
from training.objective import Objective
from training.train_dual_encoder import DualEncoderConfig, DualEncoderModel, DualEncoderObjective
from training.train_evaluator import EvaluatorObjective
from training.train_tmr import TmrConfig, TmrModel, TmrObjective


MASK = torch.arange(16) < torch.tensor([16, 9, 12, 16])[:, None]
MOTION = {"motion_values": torch.randn(4, 16, 263, generator=torch.Generator().manual_seed(0)) * MASK[..., None]}
MOTION |= {"motion_attention_mask": MASK}
TEXT = {"input_ids": torch.randint(5, 15, (4, 7)), "attention_mask": torch.ones(4, 7, dtype=torch.long)}
CODES = torch.arange(16).reshape(4, 4)
IDS = {"clip_ids": torch.arange(4), "caption_ids": torch.arange(4)}


def tokenizer(processor):
    return Objective(lamp_hf.MotionVQVAEModel(lamp_hf.MotionVQVAEConfig(width=16, codebook_dim=8))), MOTION


def lamp(processor):
    return Objective(new_model(processor, *OBJECTIVES)), new_batch(processor, 4, 2)


def lamp_qformer(processor):
    model = LampQFormerForPreTraining(tiny_qformer_config(processor, dropout=0.1))
    return Objective(model), TEXT | MOTION | IDS | {"motion_codes": CODES}


def text_to_motion(processor):
    inputs = {"codes": CODES, "token_mask": torch.ones(4, 4, dtype=torch.bool), "labels": CODES}
    return Objective(tiny_text_to_motion(processor)), inputs | TEXT


def lavimo(processor):
    return Objective(new_lavimo(use_video=False, target="identity")), TEXT | MOTION | IDS | {"return_loss": True}


def dual_encoder(processor):
    config = DualEncoderConfig(latent_size=8, sentence_size=32, hidden_size=8, projection_dim=8)
    return DualEncoderObjective(DualEncoderModel(config)), new_batch(processor, 4, 2)


def tmr(processor):
    sizes = {"hidden_size": 8, "num_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
    model = TmrModel(TmrConfig(latent_size=8, sentence_size=32, **sizes))
    return TmrObjective(model), new_batch(processor, 4, 2)


def evaluator(processor):
    config = MotionEvaluatorConfig(actions=["a", "b"], styles=["c"], width=8, embedding_size=8, text_size=16)
    labels = {"action": torch.tensor([0, 1, 0, 1]), "style": torch.zeros(4, dtype=torch.long)}
    return EvaluatorObjective(MotionEvaluatorModel(config)), MOTION | labels | {"sentence": torch.randn(4, 16)}


TRAINED = (tokenizer, lamp, lamp_qformer, text_to_motion, lavimo, dual_encoder, tmr, evaluator)


def loss_and_gradients(objective, batch) -> dict[str, torch.Tensor]:
    objective.zero_grad(set_to_none=True)
    torch.manual_seed(0)
    loss = objective(**batch)[0]
    loss.backward()
    return {name: w.grad for name, w in objective.named_parameters() if w.grad is not None} | {"loss": loss.detach()}


@pytest.mark.parametrize("new", TRAINED)
def test_recomputed_activations_leave_loss_and_gradients_as_they_are(new, processor):
    torch.manual_seed(0)
    objective, batch = new(processor)
    objective.train()
    loss_and_gradients(objective, batch)  # the tokenizer takes its first codes from the first batch
    state = {name: values.clone() for name, values in objective.state_dict().items()}
    wanted = loss_and_gradients(objective, batch)
    objective.load_state_dict(state)
    objective.model.activation_checkpointing_enable({"use_reentrant": False})
    assert objective.model.is_activation_checkpointing
    found = loss_and_gradients(objective, batch)
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-5, msg=name)


@pytest.mark.parametrize("new", TRAINED)
def test_attention_may_be_set(new, processor):
    torch.manual_seed(0)
    objective, batch = new(processor)
    losses = []
    for name in ("eager", "sdpa"):
        objective.model.set_attn_implementation(name)
        torch.manual_seed(0)
        losses.append(objective.eval()(**batch)[0].detach())
    torch.testing.assert_close(*losses, atol=1e-5, rtol=1e-5)
