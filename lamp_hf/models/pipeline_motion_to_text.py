"""`pipeline("motion-to-text")`."""

import numpy as np
import torch

from .pipeline_motion import MotionPipeline


class MotionToTextPipeline(MotionPipeline):
    """Says in a sentence what a motion shows.

        pipe = pipeline("motion-to-text", model=lamp_hf.bundled("captioning"))
        pipe("walk.bvh")  # [{"generated_text": "a person walks forward"}]

    A motion is a [`Motion`], a path that `Motion.load` reads, or an array: joints `(num_frames, num_joints, 3)` in
    metres or features `(num_frames, num_features)`, at the model's frame rate. A long one is cut into parts that the
    model can read; the result tells what it says of each, and when.
    """

    model_types = ("lamp_motion_captioning",)

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tokenizer.padding_side = "right"  # as motions are padded
        if self.tokenizer.pad_token is None:
            self.tokenizer.pad_token = self.tokenizer.eos_token
        vocabulary = self.model.get_input_embeddings().num_embeddings
        if len(self.tokenizer) > vocabulary:
            raise ValueError(f"the tokenizer has {len(self.tokenizer)} words, the language model {vocabulary}")

    def __call__(self, inputs, batch_size: int = 16, return_timestamps: bool = False, **kwargs):
        """
        Args:
            inputs (a motion or a `list` of them): see above.
            batch_size (`int`): parts that are captioned at once.
            return_timestamps (`bool`): tell the parts of short motions too.
            prompt (`str`, *optional*): how captions begin; it is part of the result.
            num_beams, length_penalty, max_new_tokens, do_sample, temperature, top_p, top_k, num_return_sequences
                (*optional*): as in `generate` of transformers; beam search if not given.
            seed (`int`, *optional*): of sampling.

        Returns:
            For a motion a list of as many dictionaries as sequences are asked for, for a list a list of such lists:
            `generated_text`, and for long motions `chunks`, each `text` and `timestamp` (start and end in seconds).

        Raises:
            ValueError: when a motion is broken, too short, or of another skeleton; before any work is done.
        """
        single = not isinstance(inputs, (list, tuple))
        motions = [self.read(motion, f"motion {i}") for i, motion in enumerate([inputs] if single else inputs)]
        parts = [self.split(features) for features in motions]
        batch_size = 1 if kwargs.get("do_sample") else batch_size  # one stream of chance for each
        flat = [part for some in parts for part in some]
        answers = iter(super().__call__(flat, batch_size=batch_size, **kwargs) if flat else [])
        results = []
        for some in parts:
            sequences = zip(*(next(answers) for _ in some))  # of each sequence the texts of all parts
            results.append([self._join(some, texts, return_timestamps) for texts in sequences])
        return results[0] if single else results

    def _sanitize_parameters(self, prompt: str | None = None, seed: int | None = None, **kwargs):
        known = {
            "num_beams", "length_penalty", "max_new_tokens", "do_sample", "temperature", "top_p", "top_k",
            "num_return_sequences",
        }  # fmt: skip
        if unknown := sorted(set(kwargs) - known):
            raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(sorted(known | {'prompt', 'seed'}))}")
        chance = [name for name in ("temperature", "top_p", "top_k") if name in kwargs] + ["seed"] * (seed is not None)
        if chance and not kwargs.get("do_sample"):
            raise ValueError(f"{chance[0]} is for sampling: give do_sample=True")
        given = {name: value for name, value in {"prompt": prompt, "seed": seed}.items() if value is not None}
        return {}, kwargs | given, {}

    def preprocess(self, inputs: np.ndarray) -> dict:
        return dict(self.processor(motion=inputs))

    def _forward(self, inputs: dict, prompt: str = "", seed: int | None = None, **options) -> dict:
        rows = len(inputs["motion_values"])
        start = torch.tensor([start_tokens(self.tokenizer, prompt)] * rows, dtype=torch.long, device=self.device)
        options["pad_token_id"], options["eos_token_id"] = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        with torch.random.fork_rng(enabled=seed is not None):
            if seed is not None:
                torch.manual_seed(seed)
            ids = self.model.generate(**inputs, input_ids=start if start.shape[1] else None, **options)
        ids = torch.cat([start.repeat_interleave(len(ids) // rows, 0), ids], 1)
        return {"ids": ids.unflatten(0, (rows, -1))}

    def postprocess(self, outputs: dict) -> list[str]:
        texts = self.tokenizer.batch_decode(outputs["ids"][0], skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _join(self, parts: list[np.ndarray], texts: list[str], return_timestamps: bool) -> dict:
        """One text; neighbours of which the same is said are one chunk."""
        chunks, start = [], 0
        for part, text in zip(parts, texts):
            end = start + len(part)
            if chunks and chunks[-1]["text"] == text:
                chunks[-1]["timestamp"] = (chunks[-1]["timestamp"][0], end / self.fps)
            else:
                chunks.append({"text": text, "timestamp": (start / self.fps, end / self.fps)})
            start = end
        result = {"generated_text": ", then ".join(chunk["text"].rstrip(" .") for chunk in chunks)}
        if len(chunks) == 1:
            result = {"generated_text": chunks[0]["text"]}
        return result | {"chunks": chunks} if return_timestamps or len(parts) > 1 else result


def start_tokens(tokenizer, prompt: str = "") -> list[int]:
    """What a caption begins with: the tokenizer's own start token, if it has one, and a prompt."""
    ids = tokenizer(prompt)["input_ids"]
    ended = len(ids) > 1 and ids[-1] == tokenizer.eos_token_id  # some tokenizers end every text
    return ids[:-1] if ended else ids


__all__ = ["MotionToTextPipeline", "start_tokens"]
