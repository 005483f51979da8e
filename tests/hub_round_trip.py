"""The processes of `test_hub.py`: `python hub_round_trip.py ROLE FOLDER`.

`push` uploads folders and prints the outputs of what is in them. The others load from the Hub and print the outputs
again: `pull` with the package and without `trust_remote_code`, `stranger` without the package and with
`trust_remote_code`, `again` after saving and loading once more what a stranger has loaded. The last two run in the
Python of an environment without the package.
"""

import importlib.util
import json
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from loopback_hub import USER


MODELS = ("tokenizer", "lamp", "lavimo")
PIPELINES = ("text-to-motion", "motion-to-text", "zero-shot-motion-classification")
METRICS = ("lamp_bertscore",)  # last: it brings a copy of the package along
OURS = ("scheduler", "diffusion", "adapter", "index")  # nothing without the package


def features() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(40, 263)).astype(np.float32)


def numbers(values) -> list[float]:
    return np.asarray(values, np.float64).ravel().tolist()


@torch.no_grad()
def model_answer(kind: str, name: str, **options) -> list[float]:
    from transformers import AutoModel, AutoProcessor

    model = AutoModel.from_pretrained(name, **options).eval()
    if kind == "tokenizer":
        return numbers(model.encode(torch.from_numpy(features())[None], torch.ones(1, 40))[0])
    processor = AutoProcessor.from_pretrained(name, **options)
    text = model.get_text_features(**processor(text=["a person walks forward"]))
    return numbers(torch.cat([text, model.get_motion_features(**processor(motion=features()))]))


def pipeline_answer(kind: str, pipe) -> list:
    if kind == "text-to-motion":
        return numbers(pipe("a person walks forward", duration=1.0, seed=0)["joints"])
    if kind == "motion-to-text":
        return [pipe(features())[0]["generated_text"]]
    return [row["score"] for row in pipe(features(), candidate_labels=["a person walks forward", "she bows"])]


def answer(kind: str, name: str, **options) -> list:
    """Return the outputs of the object in a folder or repository for a fixed input."""
    if kind in MODELS:
        return model_answer(kind, name, **options)
    if kind in PIPELINES:
        from transformers import pipeline

        return pipeline_answer(kind, pipeline(kind, model=name, **options))
    if kind in METRICS:
        import evaluate

        score = evaluate.load(name).compute(predictions=[features()], references=["she bows"])
        return [score["lamp_bertscore"], *score["f1"]]
    import lamp_hf

    if kind == "diffusion":
        from diffusers import DiffusionPipeline

        pipe = DiffusionPipeline.from_pretrained(name)
        generator = torch.Generator().manual_seed(0)
        return numbers(pipe("a person walks forward", duration=1.0, generator=generator).joints[0])
    if kind == "adapter":
        model = lamp_hf.LampForMotionCaptioning.from_pretrained(name).eval()
        return numbers(model.get_soft_tokens(torch.from_numpy(features())[None]).detach())
    if kind == "scheduler":
        scheduler = lamp_hf.MaskedMotionScheduler.from_pretrained(name)
        scheduler.set_timesteps(3)
        logits = torch.from_numpy(features()[None, :5, :7])
        sample, mask = torch.full((1, 5), scheduler.config.mask_token_id), torch.ones(1, 5, dtype=torch.bool)
        return numbers(scheduler.step(logits, 0, sample, mask, [torch.Generator().manual_seed(0)]).prev_sample)
    hits = lamp_hf.MotionIndex.load(name).search(text="she bows")
    return [hit.score for hit in hits] + [hit.id == "back" for hit in hits]


def push(kind: str, folder: str) -> list:
    """Upload a folder's content as users of its kind do; returns the outputs of the object in the folder."""
    from transformers import AutoModel, AutoProcessor, pipeline

    import lamp_hf

    name = f"{USER}/{kind}"
    if kind in MODELS:
        AutoModel.from_pretrained(folder).push_to_hub(name)
        if kind != "tokenizer":
            AutoProcessor.from_pretrained(folder).push_to_hub(name)
    elif kind in PIPELINES:
        pipeline(kind, model=folder).push_to_hub(name)
    elif kind == "scheduler":
        lamp_hf.MaskedMotionScheduler.from_pretrained(folder).push_to_hub(name)
    elif kind == "diffusion":
        model = lamp_hf.LampForTextToMotion.from_pretrained(f"{USER}/text-to-motion")
        processor = lamp_hf.LampProcessor.from_pretrained(f"{USER}/text-to-motion")
        scheduler = lamp_hf.MaskedMotionScheduler(model.transformer.mask_token_id)
        pipe = lamp_hf.LampTextToMotionDiffusionPipeline(model, processor, scheduler)
        pipe.save_pretrained(folder)
        pipe.push_to_hub(name)
    elif kind == "adapter":
        adapt(f"{USER}/motion-to-text", folder).push_to_hub(name)
    elif kind == "index":
        index = lamp_hf.MotionIndex(f"{USER}/lamp")
        index.add([features(), features()[::-1].copy()], ids=["there", "back"])
        index.push_to_hub(name)
        index.save(folder)
    else:
        from huggingface_hub import HfApi

        HfApi().create_repo(name, repo_type="space", space_sdk="gradio")
        HfApi().upload_folder(repo_id=name, repo_type="space", folder_path=folder)
    return answer(kind, folder)


def adapt(base: str, folder: str):
    """Add an untrained adapter to a captioner from the Hub, and save it in a folder."""
    from peft import LoraConfig

    import lamp_hf

    model = lamp_hf.LampForMotionCaptioning.from_pretrained(base)
    model.add_adapter(LoraConfig(r=2, target_modules=r"language_model\..*q_proj", modules_to_save=model.TRAINED))
    torch.manual_seed(2)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return model


def again(kind: str, folder: Path) -> list:
    """Save a pipeline that was loaded without the package, load it again, and return its outputs."""
    from transformers import pipeline

    pipeline(kind, model=f"{USER}/{kind}", trust_remote_code=True).save_pretrained(folder / kind)
    return pipeline_answer(kind, pipeline(kind, model=str(folder / kind), trust_remote_code=True))


def main() -> None:
    role, folder = sys.argv[1], Path(sys.argv[2])
    if role in ("stranger", "again"):
        assert importlib.util.find_spec("lamp_hf") is None
    else:
        import lamp_hf  # noqa: F401
    folders = json.loads((folder / "folders.json").read_text())
    kinds = {"again": PIPELINES, "stranger": MODELS + PIPELINES + METRICS}.get(role, tuple(folders))
    result = {}
    for kind in kinds:
        started = time.perf_counter()
        try:
            if role == "push":
                outputs = push(kind, folders[kind])
            elif role == "again":
                outputs = again(kind, folder / "again")
            else:
                outputs = answer(kind, f"{USER}/{kind}", **({"trust_remote_code": True} if role == "stranger" else {}))
            result[kind] = {"answer": outputs}
        except Exception:
            result[kind] = {"error": traceback.format_exc()}
        result[kind]["seconds"] = time.perf_counter() - started
    print(json.dumps(result))


if __name__ == "__main__":
    main()
