"""A tiny LaMP with first weights, and a tiny generator that attends to its words."""

import torch

import lamp_hf
from lamp_hf.models.configuration_lamp import LampConfig
from lamp_hf.models.modeling_lamp import LampModel


def tiny_config(processor, **changes) -> LampConfig:
    text = {"vocab_size": len(processor.tokenizer), "hidden_size": 16, "num_hidden_layers": 1}
    text |= {"num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 16, "pad_token_id": 0}
    sizes = {"trunk_size": 12, "hidden_size": 16, "num_attention_heads": 4, "intermediate_size": 16}
    sizes |= {"word_state_size": 16, "projection_dim": 8, "token_projection_dim": 8, "matcher_size": 16}
    motion = {"width": 16, "codebook_dim": 8, "codebook_size": 32}
    return LampConfig(motion_config=motion, text_config=text, **(sizes | changes))


def tiny_lamp(processor, **changes) -> LampModel:
    torch.manual_seed(0)
    return LampModel(tiny_config(processor, **changes)).eval()


def tiny_generator(processor):
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    config = lamp_hf.LampTextToMotionConfig(lamp_config=tiny_config(processor), **sizes)
    model = lamp_hf.LampForTextToMotion(config)
    model.vqvae.quantizer.codebook.normal_()
    return model.eval()
