"""`pipeline("motion-to-text")`."""

import numpy as np
import torch

from .motion_requests import as_texts
from .pipeline_motion import MotionPipeline


class MotionToTextPipeline(MotionPipeline):
    """Describe motions in sentences.

        pipe = pipeline("motion-to-text", model=lamp_hf.bundled("captioning"))
        pipe("walk.bvh")  # [{"generated_text": "a person walks forward"}]

    A motion is a [`Motion`], a path that `Motion.load` reads, or an array: joints `(num_frames, num_joints, 3)` in
    metres or features `(num_frames, num_features)`, at the model's frame rate. A motion that is longer than the model
    reads is cut into parts; the result states each part's text and time.
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

    def __call__(self, inputs, batch_size: int | None = None, return_timestamps: bool = False, **kwargs):
        """Caption one motion or a list of motions.

        Args:
            inputs (a motion, see above, or a `list` of them): Motions to caption.
            batch_size (`int`, defaults to 16): Parts per batch; one if captions are sampled.
            return_timestamps (`bool`): Return `chunks` for short motions too.
            prompt (`str`, *optional*): Beginning of every caption; it is part of the result.
            num_beams, length_penalty, max_new_tokens, do_sample, temperature, top_p, top_k, num_return_sequences
                (*optional*): As in `generate` of transformers; beam search by default.
            seed (`int`, *optional*): Seed of sampling.

        Returns:
            For a motion a list of dictionaries, one per returned sequence; for a list of motions a list of such lists.
            A dictionary holds `generated_text` and, for long motions, `chunks`, each with `text` and `timestamp`
            (start and end in seconds).

        Raises:
            ValueError: If a motion is broken, too short, or of another skeleton; raised before any work is done.
        """
        single = not isinstance(inputs, (list, tuple))
        motions = [self.read(motion, f"motion {i}") for i, motion in enumerate([inputs] if single else inputs)]
        parts_of_motions = [self.split(features) for features in motions]
        parts = [part for parts_of_motion in parts_of_motions for part in parts_of_motion]
        batch_size = self.choose_batch_size(batch_size, 16)
        if self._samples(kwargs):
            batch_size = 1  # the seed starts a random stream for every part
        captions = iter(super().__call__(parts, batch_size=batch_size, **kwargs) if parts else [])
        results = []
        for parts_of_motion in parts_of_motions:
            sequences = zip(*(next(captions) for _ in parts_of_motion))  # the texts of all parts, for each sequence
            results.append([self._join(parts_of_motion, texts, return_timestamps) for texts in sequences])
        return results[0] if single else results

    def _sanitize_parameters(self, prompt: str | None = None, seed: int | None = None, **kwargs):
        known = {
            "num_beams", "length_penalty", "max_new_tokens", "do_sample", "temperature", "top_p", "top_k",
            "num_return_sequences",
        }  # fmt: skip
        if unknown := sorted(set(kwargs) - known):
            raise ValueError(f"unknown option {unknown[0]!r}; known: {', '.join(sorted(known | {'prompt', 'seed'}))}")
        sampling = [name for name in ("temperature", "top_p", "top_k") if name in kwargs]
        sampling += ["seed"] * (seed is not None)
        if sampling and not self._samples(kwargs):
            raise ValueError(f"{sampling[0]} is for sampling: give do_sample=True")
        if (prompt is not None and len(as_texts(prompt, "the prompt")) != 1) or isinstance(prompt, list):
            raise ValueError("the prompt is one text for all captions")
        given = {name: value for name, value in {"prompt": prompt, "seed": seed}.items() if value is not None}
        return {}, kwargs | given, {}

    def _samples(self, options: dict) -> bool:
        """Tell whether captions are sampled, by the options of a call or else by those given to `pipeline(...)`."""
        return bool((getattr(self, "_forward_params", {}) | options).get("do_sample"))

    def preprocess(self, inputs: np.ndarray) -> dict:
        """Normalise the features of a part."""
        return dict(self.processor.feature_extractor.pad_features([inputs]))

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
        """Decode the texts of a part, one per returned sequence."""
        texts = self.tokenizer.batch_decode(outputs["ids"][0], skip_special_tokens=True)
        return [" ".join(text.split()) for text in texts]

    def _join(self, parts: list[np.ndarray], texts: list[str], return_timestamps: bool) -> dict:
        """Join the texts of a motion's parts; consecutive parts with the same text become one chunk."""
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
    """Return the tokens that a caption begins with: the tokenizer's start token, if it has one, and the prompt."""
    ids = tokenizer(prompt)["input_ids"]
    ended = len(ids) > 1 and ids[-1] == tokenizer.eos_token_id  # some tokenizers end every text
    return ids[:-1] if ended else ids


__all__ = ["MotionToTextPipeline", "start_tokens"]
