#!/usr/bin/env bash
# Makes lamp-small from the motion capture parquet. About two hours on two CPU cores; each stage goes on where it stopped.
#   training/reproduce_small.sh mocap.parquet captions.json runs
# captions.json: sentences whose words stay in the vocabulary (KIT-ML's annotations).
set -euo pipefail
data=$1 captions=$2 runs=$3
recipes=$(dirname "$0")/recipes/small
bundle=lamp_hf/checkpoints/lamp_small

python -m training.train_tokenizer --recipe "$recipes/tokenizer.yaml" --data "$data" --output "$runs/tokenizer"
python -m training.train_lamp --recipe "$recipes/lamp.yaml" --data "$data" --tokenizer "$runs/tokenizer/model" \
    --output "$runs/lamp" --set data.vocabulary_captions="$captions"
python -m training.train_text_to_motion --recipe "$recipes/text_to_motion.yaml" --data "$data" \
    --tokenizer "$runs/tokenizer/model" --lamp "$runs/lamp/model" --output "$runs/text_to_motion"
python -m training.train_evaluator --recipe "$recipes/evaluator.yaml" --data "$data" --output "$runs/evaluator"

python -m training.bundle --model "$runs/text_to_motion/model" --output "$bundle"
python -m training.evaluate tokenizer --data "$data" --model "$runs/tokenizer/model" --output "$bundle/tokenizer_evaluation.json"
python -m training.evaluate text-to-motion --data "$data" --model "$bundle" --evaluator "$runs/evaluator/model" \
    --output "$bundle/evaluation.json"
python -m training.ablations --data "$data" --tokenizer "$runs/tokenizer/model" --lamp "$runs/lamp/model" \
    --evaluator "$runs/evaluator/model" --output "$runs/ablations"
cp "$runs/ablations/ablations.json" "$bundle/ablations.json"
python -m training.card --model "$bundle"
