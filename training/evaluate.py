r"""Measures models on the test split and writes the numbers as JSON.

python -m training.evaluate tokenizer --data mocap.parquet --model runs/tokenizer/model --output numbers.json
python -m training.evaluate text-to-motion --data mocap.parquet --model lamp_hf/checkpoints/lamp_small \
    --evaluator runs/evaluator/model
python -m training.evaluate sampling --split val --model lamp_hf/checkpoints/lamp_small ...
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

import lamp_hf
from lamp_hf.models.feature_extraction_motion import MotionFeatureExtractor
from lamp_hf.models.modeling_motion_vqvae import MotionVQVAEModel

from .data import load_clips, normalised
from .evaluation.captioning import evaluate_captioning, evaluate_lamp_bertscore
from .evaluation.composition import evaluate_composition
from .evaluation.generation import evaluate_generation
from .evaluation.lavimo import evaluate_lavimo
from .evaluation.retrieval import evaluate_retrieval
from .evaluation.sampling import evaluate_sampling
from .evaluation.temporal_localization import evaluate_moments
from .evaluation.text_to_motion import DECODING, evaluate_text_to_motion
from .evaluation.transitions import evaluate_seams
from .train_tokenizer import reconstruction_errors


def evaluate_tokenizer(arguments: argparse.Namespace) -> dict:
    extractor = MotionFeatureExtractor.from_pretrained(arguments.model)
    motions = normalised(load_clips(arguments), extractor)
    return reconstruction_errors(MotionVQVAEModel.from_pretrained(arguments.model), extractor, motions)


TASKS = {
    "tokenizer": evaluate_tokenizer,
    "text-to-motion": evaluate_text_to_motion,
    "captioning": evaluate_captioning,
    "lamp-bertscore": evaluate_lamp_bertscore,
    "sampling": evaluate_sampling,
    "composition": evaluate_composition,
    "seams": evaluate_seams,
    "generation": evaluate_generation,
    "retrieval": evaluate_retrieval,
    "lavimo": evaluate_lavimo,
    "moments": evaluate_moments,
}

# Which options of decoding a task reads.
READS = {task: tuple(DECODING) for task in ("text-to-motion", "composition", "seams", "generation")}
READS["sampling"] = ("steps",)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--data", required=True, type=Path)
    parser.add_argument("--model", required=True, type=Path)
    parser.add_argument("--evaluator", type=Path, help="folder of a trained evaluator")
    parser.add_argument("--split", default="test", choices=["val", "test"], help="choose on val, report on test")
    parser.add_argument("--seed", default=0, type=int)
    parser.add_argument("--guidance-scale", type=float)
    parser.add_argument("--guidance-interval", nargs=2, type=float, help="shares of the steps that are guided")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--choice-temperature", type=float)
    parser.add_argument("--num-beams", type=int, help="of captioning, as the next")
    parser.add_argument("--length-penalty", type=float)
    parser.add_argument("--skeleton", default="humanml3d", choices=["humanml3d", "kit"])
    parser.add_argument("--lamp", default=lamp_hf.bundled(), type=Path, help="LaMP, as evaluator")
    parser.add_argument("--captioner", default=lamp_hf.bundled("captioning"), type=Path, help="of lamp-bertscore")
    parser.add_argument("--repeats", default=20, type=int, help="of generation")
    parser.add_argument("--cache", type=Path, help="folder where generated motions, or what is seen in films, stay")
    parser.add_argument("--guo", type=Path, help="folder of Guo et al.'s evaluator, see lamp_hf.import_checkpoint.guo")
    encoder = "sentence-transformers/all-MiniLM-L6-v2"
    parser.add_argument("--sentence-encoder", default=encoder, help="of retrieval: tells which captions are alike")
    parser.add_argument("--rerank", type=int, help="of retrieval: pairs of each text and motion to look at again")
    parser.add_argument("--plain-text", action="store_true", help="of retrieval: the baseline without LaMP")
    parser.add_argument("--films", type=Path, help="of lavimo: folder of films that `render_mitsuba` made")
    parser.add_argument("--output", type=Path, help="JSON file")
    arguments = parser.parse_args()
    decoding = {name: getattr(arguments, name) for name in DECODING if getattr(arguments, name) is not None}
    if unread := sorted(decoding.keys() - READS.get(arguments.task, ())):
        parser.error(f"{arguments.task} does not read {', '.join(unread)}")
    numbers = {"task": arguments.task, "data": arguments.data.name, "split": arguments.split, "seed": arguments.seed}
    numbers |= decoding
    numbers |= TASKS[arguments.task](arguments)
    text = json.dumps(numbers, indent=2)
    print(text)
    if arguments.output:
        arguments.output.write_text(text + "\n")


if __name__ == "__main__":
    main()
