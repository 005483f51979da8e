"""`pipeline("zero-shot-motion-classification")`."""

import torch

from .modeling_lamp import LampModel, similarity
from .pipeline_motion import MotionPipeline


class ZeroShotMotionClassificationPipeline(MotionPipeline):
    """Tells which of some labels fits a motion best; the labels are free.

        pipe = pipeline("zero-shot-motion-classification", model=lamp_hf.bundled())
        pipe("walk.bvh", candidate_labels=["walks forward", "waves with the left hand"])
        # [{"score": 0.98, "label": "walks forward"}, ...]

    A motion is a [`Motion`], a path that `Motion.load` reads, or an array of joints or features. One that is longer
    than the model reads at once is cut into parts, and their logits are averaged.
    """

    model_types = ("lamp", "lamp_text_to_motion")

    @property
    def lamp(self) -> LampModel:
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
            inputs (a motion or a `list` of them): see above.
            candidate_labels (`list[str]` or `str`): what the person may be doing; in a string parted by commas.
            hypothesis_template (`str`): the sentence that `{}` in it makes of a label.
            batch_size (`int`): parts that are embedded at once.
            scoring (`str`): `"mean"` or `"max"`, see [`similarity`].

        Returns:
            For a motion a list of `{"score": float, "label": str}`, the best first, scores adding up to 1; for a list
            of motions a list of such lists.

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
        motions = [self.read(motion, f"motion {i}") for i, motion in enumerate([inputs] if single else inputs)]
        parts = [self.split(features) for features in motions]
        flat = [part for some in parts for part in some]
        text = self._embed_labels([hypothesis_template.replace("{}", label) for label in candidate_labels])
        logits = iter(super().__call__(flat, batch_size=batch_size, text=text, scoring=scoring) if flat else [])
        results = []
        for some in parts:
            scores = torch.stack([next(logits) for _ in some]).mean(0).softmax(-1)
            ranked = sorted(zip(scores.tolist(), candidate_labels), reverse=True)
            results.append([{"score": score, "label": label} for score, label in ranked])
        return results[0] if single else results

    def _sanitize_parameters(self, **kwargs):
        return {}, kwargs, {}

    @torch.no_grad()
    def _embed_labels(self, sentences: list[str]) -> torch.Tensor:
        inputs = self.processor(text=sentences).to(self.device)
        return self.lamp.get_text_features(**inputs)

    def preprocess(self, inputs) -> dict:
        return dict(self.processor(motion=inputs))

    def _forward(self, inputs: dict, text: torch.Tensor, scoring: str) -> dict:
        motion = self.lamp.get_motion_features(**inputs, pool=False)
        scale = self.lamp.temperature
        return {"logits": scale * similarity(text.to(motion.device), motion, scoring).T}

    def postprocess(self, outputs: dict) -> torch.Tensor:
        return outputs["logits"][0]


__all__ = ["ZeroShotMotionClassificationPipeline"]
