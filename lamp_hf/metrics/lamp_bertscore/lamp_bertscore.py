"""LaMP-BertScore as a metric of `evaluate`; the package lamp_hf computes it."""

import importlib.util
import sys

import datasets
import evaluate
from huggingface_hub import snapshot_download


SPACE = ""  # user/name on the Hub of the Space that this script was pushed to, with a copy of the package


def load_lamp_bertscore():
    """Return the function of the installed package, or of the Space's copy where the package is not installed."""
    if SPACE and importlib.util.find_spec("lamp_hf") is None:
        sys.path.append(snapshot_download(SPACE, repo_type="space", allow_patterns="lamp_hf/*"))
    from lamp_hf.metrics.motion_bertscore import lamp_bertscore

    return lamp_bertscore


lamp_bertscore = load_lamp_bertscore()

_DESCRIPTION = """\
LaMP-BertScore measures how well generated motions match their captions: a captioner describes each motion, and
BERTScore compares the description with the caption.
"""
_CITATION = """\
@inproceedings{li2025lamp,
  title={LaMP: Language-Motion Pretraining for Motion Generation, Retrieval, and Captioning},
  author={Li, Zhe and Yuan, Weihao and He, Yisheng and Qiu, Lingteng and Zhu, Shenhao and Gu, Xiaodong and
    Shen, Weichao and Dong, Yuan and Dong, Zilong and Yang, Laurence T.},
  booktitle={International Conference on Learning Representations},
  year={2025}
}
"""
_FRAMES = datasets.Sequence(datasets.Sequence(datasets.Value("float32")))
_MOTIONS = {"features": _FRAMES, "joints": datasets.Sequence(_FRAMES)}
_CAPTIONS = (datasets.Value("string"), datasets.Sequence(datasets.Value("string")))


class LampBertScore(evaluate.Metric):
    """The metric that `evaluate.load("lamp_bertscore")` returns."""

    def _info(self):
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=lamp_bertscore.__doc__,
            features=[
                datasets.Features({"predictions": motions, "references": captions})
                for motions in _MOTIONS.values()
                for captions in _CAPTIONS
            ],
        )

    def _compute(self, predictions, references, **options):
        return lamp_bertscore(predictions, references, **options)
