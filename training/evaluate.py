r"""Measures models on the test split and writes the numbers as JSON.

python -m training.evaluate tokenizer --data mocap.parquet --model runs/tokenizer/model --output numbers.json
python -m training.evaluate text-to-motion --data mocap.parquet --model lamp_hf/checkpoints/lamp_small \
    --evaluator runs/evaluator/model
python -m training.evaluate composition --model lamp_hf/checkpoints/lamp_small ...
python -m training.evaluate seams --model lamp_hf/checkpoints/lamp_small ...
python -m training.evaluate generation ... --repeats 20 --cache runs/generated
python -m training.evaluate captioning --model lamp_hf/checkpoints/lamp_small_captioning ...
python -m training.evaluate lamp-bertscore --model lamp_hf/checkpoints/lamp_small ...
python -m training.evaluate retrieval --model lamp_hf/checkpoints/lamp_small --rerank 16 ...
python -m training.evaluate lavimo --model lamp_hf/checkpoints/lavimo_small ...
python -m training.evaluate moments --model lamp_hf/checkpoints/lamp_small ...
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import yaml
from transformers import pipeline

import lamp_hf
from lamp_hf.metrics.evaluators import MotionEvaluatorModel
from lamp_hf.metrics.generation import halves_distance
from lamp_hf.metrics.geometry import CHECKS, SIDES, WELL_COVERED, confuses_sides, measure
from lamp_hf.metrics.physics import bone_length_variation, foot_skating, largest_acceleration
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel

from .caption_facts import told_styles
from .data import Clips, load_clips, normalised
from .evaluate_captioning import evaluate_captioning, evaluate_lamp_bertscore
from .evaluate_composition import evaluate_composition
from .evaluate_generation import evaluate_generation
from .evaluate_lavimo import evaluate_lavimo
from .evaluate_moments import evaluate_moments
from .evaluate_retrieval import evaluate_retrieval
from .evaluate_seams import evaluate_seams
from .train_evaluator import accuracy, judge
from .train_tokenizer import reconstruction_errors


def evaluate_tokenizer(arguments: argparse.Namespace) -> dict:
    extractor = MotionFeatureExtractor.from_pretrained(arguments.model)
    motions = normalised(load_clips(arguments), extractor)
    return reconstruction_errors(MotionVQVAEModel.from_pretrained(arguments.model), extractor, motions)


def evaluate_text_to_motion(arguments: argparse.Namespace) -> dict:
    """The split's first captions, each as long as the real clip; then the paraphrases, of predicted length."""
    clips = load_clips(arguments)
    pipe = pipeline("text-to-motion", model=str(arguments.model))
    if arguments.order_noise is not None:
        pipe.model.config.order_noise = arguments.order_noise
    options = {
        "guidance_scale": arguments.guidance_scale,
        "num_inference_steps": arguments.steps,
        "temperature": arguments.temperature,
    }
    options = {name: value for name, value in options.items() if value is not None}
    captions = [captions[0] for captions in clips.captions]
    durations = [min(len(motion) / pipe.fps, pipe.max_duration) for motion in clips.motions]
    made = pipe(captions, duration=durations, seed=arguments.seed, batch_size=32, **options)
    made = [motion["joints"] for motion in made]
    real = [lamp_hf.features_to_joints(motion) for motion in clips.motions]
    numbers = {"captions": geometry_numbers(made, clips.actions), "real": geometry_numbers(real, clips.actions)}

    paraphrases = yaml.safe_load(Path(__file__).with_name("paraphrases.yaml").read_text())[arguments.split]
    actions = [action for action, texts in paraphrases.items() for _ in texts]
    texts = [text for texts in paraphrases.values() for text in texts]
    answers = pipe(texts, seed=arguments.seed, batch_size=32, **options)
    numbers["paraphrases"] = geometry_numbers([motion["joints"] for motion in answers], actions)
    numbers["paraphrases"]["wrong"] = [
        f"{action}: {text}"
        for text, action, motion in zip(texts, actions, answers)
        if not CHECKS[action](measure(motion["joints"]))
    ]
    numbers["physics"] = physics_numbers(made, real)
    if arguments.evaluator:
        training = load_clips(arguments, "train")
        told = told_styles(captions, training.captions, training.styles)
        numbers["evaluator"] = evaluator_numbers(arguments.evaluator, made, real, clips, told)
    return numbers


def geometry_numbers(joints: list[np.ndarray], actions: list[str]) -> dict:
    """Percent of clips that do their action, over the well-covered actions and over all that can be checked."""
    facts = [measure(clip) for clip in joints]
    right = {action: [] for action in CHECKS}
    for fact, action in zip(facts, actions):
        if action in CHECKS:
            right[action].append(CHECKS[action](fact))
    sided = [
        confuses_sides(action, fact)
        for fact, action in zip(facts, actions)
        if action.replace("right", "left") in SIDES
    ]
    covered = [answer for action in WELL_COVERED for answer in right[action]]
    everything = [answer for answers in right.values() for answer in answers]
    return {
        "well_covered": 100 * float(np.mean(covered)),
        "all": 100 * float(np.mean(everything)),
        "sides_confused": 100 * float(np.mean(sided)),
        "clips": len(everything),
        "by_action": {action: 100 * float(np.mean(answers)) for action, answers in right.items() if answers},
    }


def physics_numbers(made: list[np.ndarray], real: list[np.ndarray]) -> dict:
    """Made and real clips have the same captions, so the same actions."""
    skating = [np.mean([foot_skating(clip) for clip in clips]) for clips in (made, real)]
    jumps = [np.array([largest_acceleration(clip) for clip in clips if len(clip) > 2]) for clips in (made, real)]
    return {
        "skating_metres_per_second": float(skating[0]),
        "skating_of_real": float(skating[1]),
        "skating_ratio": float(skating[0] / skating[1]),
        "bone_length_variation_percent": 100 * max(bone_length_variation(clip) for clip in made),
        "largest_acceleration_99th": float(np.quantile(jumps[0], 0.99)),
        "largest_acceleration_99th_of_real": float(np.quantile(jumps[1], 0.99)),
        "largest_acceleration_median": float(np.median(jumps[0])),
        "largest_acceleration_median_of_real": float(np.median(jumps[1])),
    }


def evaluator_numbers(folder: Path, made: list[np.ndarray], real: list[np.ndarray], clips: Clips, told) -> dict:
    model = MotionEvaluatorModel.from_pretrained(folder)
    extractor = MotionFeatureExtractor.from_pretrained(folder)
    features = [
        [extractor.normalise(torch.from_numpy(lamp_hf.joints_to_features(clip))) for clip in motions]
        for motions in (made, real)
    ]
    (action, style, embedding), (real_action, real_style, real_embedding) = (
        judge(model, motions) for motions in features
    )
    telling = np.array([words == style for words, style in zip(told, clips.styles)])
    distances = halves_distance(real_embedding, embedding), halves_distance(real_embedding, real_embedding)
    return {
        "action": accuracy(action, clips.actions),
        "action_of_real": accuracy(real_action, clips.actions),
        "style": accuracy(style, clips.styles),
        "style_of_real": accuracy(real_style, clips.styles),
        "captions_that_tell_their_style": 100 * float(np.mean(telling)),
        "style_where_told": accuracy(
            np.array(style)[telling], [style for style, tells in zip(clips.styles, telling) if tells]
        ),
        "frechet_distance": distances[0],
        "frechet_distance_of_real_halves": distances[1],
        "frechet_ratio": distances[0] / distances[1],
    }


TASKS = {
    "tokenizer": evaluate_tokenizer,
    "text-to-motion": evaluate_text_to_motion,
    "captioning": evaluate_captioning,
    "lamp-bertscore": evaluate_lamp_bertscore,
    "composition": evaluate_composition,
    "seams": evaluate_seams,
    "generation": evaluate_generation,
    "retrieval": evaluate_retrieval,
    "lavimo": evaluate_lavimo,
    "moments": evaluate_moments,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--evaluator", type=Path, help="folder of a trained evaluator")
    parser.add_argument("--split", default="test", choices=["val", "test"], help="choose on val, report on test")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--order-noise", type=float)
    parser.add_argument("--num-beams", type=int, help="of captioning, as the next")
    parser.add_argument("--length-penalty", type=float)
    parser.add_argument("--skeleton", default="humanml3d", choices=["humanml3d", "kit"])
    parser.add_argument("--lamp", default=lamp_hf.bundled(), type=Path, help="LaMP, as evaluator")
    parser.add_argument("--captioner", default=lamp_hf.bundled("captioning"), type=Path, help="of lamp-bertscore")
    parser.add_argument("--repeats", default=20, type=int, help="of generation")
    parser.add_argument("--cache", type=Path, help="folder where generated motions, or what is seen in films, stay")
    parser.add_argument("--guo", type=Path, help="folder of Guo et al.'s evaluator, see lamp_hf.convert.guo")
    encoder = "sentence-transformers/all-MiniLM-L6-v2"
    parser.add_argument("--sentence-encoder", default=encoder, help="of retrieval: tells which captions are alike")
    parser.add_argument("--rerank", type=int, help="of retrieval: pairs of each text and motion to look at again")
    parser.add_argument("--plain-text", action="store_true", help="of retrieval: the baseline without LaMP")
    parser.add_argument("--films", type=Path, help="of lavimo: folder of films that `render_mitsuba` made")
    parser.add_argument("--output", type=Path, help="JSON file")
    arguments = parser.parse_args()
    numbers = {"task": arguments.task, "data": arguments.data.name, "split": arguments.split, "seed": arguments.seed}
    numbers |= TASKS[arguments.task](arguments)
    text = json.dumps(numbers, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
