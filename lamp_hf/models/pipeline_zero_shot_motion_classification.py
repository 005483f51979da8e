"""`pipeline("zero-shot-motion-classification")`."""

from collections.abc import Iterator

import numpy as np
import torch

from .contrastive import similarity
from .motion_requests import as_texts
from .pipeline_motion import MotionPipeline


class ZeroShotMotionClassificationPipeline(MotionPipeline):
    """Score how well labels, chosen freely, describe a motion.

        pipe = pipeline("zero-shot-motion-classification", model=lamp_hf.bundled())
        pipe("walk.bvh", candidate_labels=["walks forward", "waves with the left hand"])
        # [{"score": 0.98, "label": "walks forward", "start": 0.0, "end": 3.2}, ...]

    A motion is a [`Motion`], a path that `Motion.load` reads, or an array of joints or features; LAVIMO also reads
    videos. A motion or video that is longer than the model reads is cut into parts, and their logits are averaged.
    """

    model_types = ("lamp", "lamp_qformer", "lamp_text_to_motion", "lavimo")

    @property
    def encoder(self):
        """The [`LampModel`], [`LampQFormerModel`] or [`LavimoModel`] that embeds texts and motions."""
        return getattr(self.model, "lamp", self.model)

    def __call__(
        self,
        inputs,
        candidate_labels: list[str] | str,
        hypothesis_template: str = "a person {}",
        batch_size: int | None = None,
        scoring: str | None = None,
    ):
        """Classify one motion or video, or a list of them.

        Args:
            inputs (a motion or a video, see above, or a `list` of them): Motions to classify.
            candidate_labels (`list[str]` or `str`): Labels; a string is split at commas.
            hypothesis_template (`str`): Sentence in which a label takes the place of `{}`.
            batch_size (`int`, defaults to 16): Parts per batch.
            scoring (`str`, *optional*): How the paper's Q-Former scores, `"mean"` (by default) or `"max"`, see
                [`similarity`]. LAVIMO has one vector per motion, for which both are the same. LaMP has one score, see
                [`LampModel.score`], and takes no `scoring`.

        Returns:
            For a motion a list of `{"score": float, "label": str, "start": float, "end": float}`, best first. Scores
            sum to 1; `start` and `end`, in seconds, span the part where the label scores best. For a list of motions a
            list of such lists.

        Raises:
            ValueError: If there is no label, one is empty, two are equal, the template has no `{}`, a motion is
                broken, or `scoring` is given for LaMP.
        """
        if isinstance(candidate_labels, str):
            candidate_labels = [label.strip() for label in candidate_labels.split(",") if label.strip()]
        candidate_labels = as_texts(candidate_labels, "a label")
        if not candidate_labels or len(set(candidate_labels)) != len(candidate_labels):
            raise ValueError("candidate_labels must be different labels, at least one")
        if not all(label.strip() for label in candidate_labels):
            raise ValueError("a label is empty: describe a motion in a word or a sentence")
        if not isinstance(hypothesis_template, str) or "{}" not in hypothesis_template:
            raise ValueError(f"hypothesis_template {hypothesis_template!r} has no place {{}} for a label")
        scoring = self._forward_params.get("scoring") if scoring is None else scoring
        if scoring is not None and self._scores_words:
            raise ValueError("scoring is an option of the paper's Q-Former; LaMP has one score")
        batch_size = self.choose_batch_size(batch_size, 16)
        single = not isinstance(inputs, (list, tuple))
        sources = [self._parts(source, f"motion {i}") for i, source in enumerate([inputs] if single else inputs)]
        text = self._embed_labels([hypothesis_template.replace("{}", label) for label in candidate_labels])
        logits = self._logits(
            [part for parts in sources for part, *_ in parts], batch_size, text=text, scoring=scoring or "mean"
        )
        results = []
        for parts in sources:
            part_logits = torch.stack([next(logits) for _ in parts])
            scores = part_logits.mean(0).softmax(-1).tolist()
            spans = [parts[best][1:] for best in part_logits.softmax(-1).argmax(0)]
            rows = [
                {"score": score, "label": label, "start": start, "end": end}
                for score, label, (start, end) in sorted(zip(scores, candidate_labels, spans), reverse=True)
            ]
            results.append(rows)
        return results[0] if single else results

    def _parts(self, source, name: str) -> list[tuple[dict, float, float]]:
        """Read a motion or video and cut it into parts, with their start and end in seconds."""
        if self.model.config.model_type == "lavimo" and self.processor.is_video(source):
            return [
                ({"video": frames}, start, end)
                for frames, start, end in self.processor.split_video(source, (self.max_frames + 0.5) / self.fps)
            ]
        parts = self.split(self.read(source, name))
        ends = (np.cumsum([len(part) for part in parts]) / self.fps).tolist()
        return [({"motion": part}, start, end) for part, start, end in zip(parts, [0.0, *ends], ends)]

    def _logits(self, parts: list[dict], batch_size: int, **kwargs) -> Iterator[torch.Tensor]:
        """Yield the logits of each part. Motions and videos are not batched together."""
        logits: dict[int, torch.Tensor] = {}
        for kind in ("motion", "video"):
            rows = [row for row, part in enumerate(parts) if kind in part]
            if rows:
                found = super().__call__([parts[row] for row in rows], batch_size=batch_size, **kwargs)
                logits |= dict(zip(rows, found))
        return (logits[row] for row in range(len(parts)))

    def _sanitize_parameters(self, **options):
        if unknown := sorted(set(options) - {"scoring", "text"}):  # "text" is what the labels are embedded as
            raise ValueError(f"unknown option {unknown[0]!r}; known: batch_size, scoring")
        return {}, options, {}

    @property
    def _scores_words(self) -> bool:
        """Tell whether the encoder is LaMP, which scores by whole texts and by words."""
        return self.encoder.config.model_type == "lamp"

    @torch.no_grad()
    def _embed_labels(self, sentences: list[str]):
        inputs = self.processor(text=sentences).to(self.device)
        if self._scores_words:
            mask = inputs["attention_mask"].bool()
            return self.encoder.encode_text_parts(self.encoder.encode_text(inputs["input_ids"], mask), mask)
        return self.encoder.get_text_features(**inputs)

    def preprocess(self, inputs: dict) -> dict:
        """Turn the features or frames of a part into model inputs."""
        if "motion" in inputs:
            return dict(self.processor.feature_extractor.pad_features([inputs["motion"]]))
        return dict(self.processor.frames_to_inputs([inputs["video"]]))

    def _forward(self, inputs: dict, text, scoring: str) -> dict:
        if self._scores_words:
            motion = self.encoder.encode_motion_parts(*self.encoder.encode_latents(**inputs))
            return {"logits": sum(self.encoder.score(text, motion)).T}
        if "pixel_values" in inputs:
            vectors = self.encoder.get_video_features(**inputs)
        else:
            vectors = self.encoder.get_motion_features(**inputs, pool=False)
        vectors = vectors if vectors.ndim == 3 else vectors[:, None]
        return {"logits": self.encoder.temperature * similarity(text.to(vectors.device), vectors, scoring).T}

    def postprocess(self, outputs: dict) -> torch.Tensor:
        """Return the logits of a part."""
        return outputs["logits"][0]


__all__ = ["ZeroShotMotionClassificationPipeline"]
