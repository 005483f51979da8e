"""`pipeline("zero-shot-motion-classification")`."""

from collections.abc import Iterator

import numpy as np
import torch

from .contrastive import similarity
from .pipeline_motion import MotionPipeline


class ZeroShotMotionClassificationPipeline(MotionPipeline):
    """Tells which of some labels fits a motion best; the labels are free.

        pipe = pipeline("zero-shot-motion-classification", model=lamp_hf.bundled())
        pipe("walk.bvh", candidate_labels=["walks forward", "waves with the left hand"])
        # [{"score": 0.98, "label": "walks forward", "start": 0.0, "end": 3.2}, ...]

    A motion is a [`Motion`], a path that `Motion.load` reads, or an array of joints or features; with LAVIMO videos
    are read too. What is longer than the model reads at once is cut into parts, and their logits are averaged.
    """

    model_types = ("lamp", "lamp_text_to_motion", "lavimo")

    @property
    def encoder(self):
        """[`LampModel`] or [`LavimoModel`]."""
        return getattr(self.model, "lamp", self.model)

    def __call__(
        self,
        inputs,
        candidate_labels: list[str] | str,
        hypothesis_template: str = "a person {}",
        batch_size: int = 16,
        scoring: str = "mean",
    ):
        """
        Args:
            inputs (a motion or a video, or a `list` of them): see above.
            candidate_labels (`list[str]` or `str`): what the person may be doing; in a string parted by commas.
            hypothesis_template (`str`): the sentence that `{}` in it makes of a label.
            batch_size (`int`): parts that are embedded at once.
            scoring (`str`): `"mean"` or `"max"`, see [`similarity`]; LAVIMO has one vector, so they are the same.

        Returns:
            For a motion a list of `{"score": float, "label": str, "start": float, "end": float}`, the best first,
            scores adding up to 1; from start to end, in seconds, is the part where the label scores best, all of a
            motion that is read at once. For a list of motions a list of such lists.

        Raises:
            ValueError: when there is no label, two are equal, the template has no place for one, or a motion is
                broken.
        """
        if isinstance(candidate_labels, str):
            candidate_labels = [label.strip() for label in candidate_labels.split(",") if label.strip()]
        if not candidate_labels or len(set(candidate_labels)) != len(candidate_labels):
            raise ValueError("candidate_labels must be different labels, at least one")
        if "{}" not in hypothesis_template:
            raise ValueError(f"hypothesis_template {hypothesis_template!r} has no place {{}} for a label")
        single = not isinstance(inputs, (list, tuple))
        parts = [self._parts(source, f"motion {i}") for i, source in enumerate([inputs] if single else inputs)]
        text = self._embed_labels([hypothesis_template.replace("{}", label) for label in candidate_labels])
        results = []
        logits = self._logits([part for some in parts for part, *_ in some], batch_size, text=text, scoring=scoring)
        for some in parts:
            of_parts = torch.stack([next(logits) for _ in some])
            spans = [some[part][1:] for part in of_parts.softmax(-1).argmax(0)]
            rows = zip(of_parts.mean(0).softmax(-1).tolist(), candidate_labels, spans)
            results.append(
                [
                    {"score": score, "label": label, "start": start, "end": end}
                    for score, label, (start, end) in sorted(rows, reverse=True)
                ]
            )
        return results[0] if single else results

    def _parts(self, source, name: str) -> list[tuple[dict, float, float]]:
        """What the processor takes of each part of a motion or a video, and from when to when it lasts."""
        if self.model.config.model_type == "lavimo" and self.processor.is_video(source):
            return [
                ({"video": frames}, start, end)
                for frames, start, end in self.processor.split_video(source, (self.max_frames + 0.5) / self.fps)
            ]
        parts = self.split(self.read(source, name))
        ends = np.cumsum([len(part) for part in parts]) / self.fps
        return [
            ({"motion": part}, start, end) for part, start, end in zip(parts, [0.0, *ends.tolist()], ends.tolist())
        ]

    def _logits(self, parts: list[dict], batch_size: int, **kwargs) -> Iterator[torch.Tensor]:
        """Of each part; motions and videos do not go into one batch."""
        logits: dict[int, torch.Tensor] = {}
        for kind in ("motion", "video"):
            rows = [row for row, part in enumerate(parts) if kind in part]
            if rows:
                found = super().__call__([parts[row] for row in rows], batch_size=batch_size, **kwargs)
                logits |= dict(zip(rows, found))
        return (logits[row] for row in range(len(parts)))

    def _sanitize_parameters(self, **kwargs):
        return {}, kwargs, {}

    @torch.no_grad()
    def _embed_labels(self, sentences: list[str]) -> torch.Tensor:
        inputs = self.processor(text=sentences).to(self.device)
        return self.encoder.get_text_features(**inputs)

    def preprocess(self, inputs: dict) -> dict:
        return dict(self.processor(**inputs))

    def _forward(self, inputs: dict, text: torch.Tensor, scoring: str) -> dict:
        if "pixel_values" in inputs:
            vectors = self.encoder.get_video_features(**inputs)
        else:
            vectors = self.encoder.get_motion_features(**inputs, pool=False)
        vectors = vectors if vectors.ndim == 3 else vectors[:, None]
        return {"logits": self.encoder.temperature * similarity(text.to(vectors.device), vectors, scoring).T}

    def postprocess(self, outputs: dict) -> torch.Tensor:
        return outputs["logits"][0]


__all__ = ["ZeroShotMotionClassificationPipeline"]
