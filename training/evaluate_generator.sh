#!/usr/bin/env bash
# Evaluate a generator with everything that judges text to motion, one JSON file a task, and draw contact sheets.
#   training/evaluate_generator.sh MODEL mocap.parquet runs/evaluator/model OUTPUT [test]
# Choose on val and report test. Families are those of lamp-small, which is trained without the CC BY-SA clips.
set -euo pipefail
model=$1 data=$2 evaluator=$3 output=$4 split=${5:-test}
mkdir -p "$output"

evaluate() { # TASK [OPTION ...]
    echo "$1" >&2
    python -m training.evaluate "$@" --data "$data" --split "$split" --model "$model" --output "$output/${1//-/_}.json" >/dev/null
}

evaluate families --evaluator "$evaluator" --licenses-left-out "CC BY-SA 3.0"
evaluate geometry
evaluate text-to-motion --evaluator "$evaluator"
evaluate composition --evaluator "$evaluator"
python -m training.evaluate text-to-motion --num-candidates 8 --data "$data" --split "$split" --model "$model" \
    --evaluator "$evaluator" --output "$output/best_of.json" >/dev/null
if [ -f "$model/familiarity.json" ]; then evaluate familiarity; fi
evaluate transitions
evaluate constraints --evaluator "$evaluator"
evaluate loops
evaluate contact-sheets --sheets "$output/sheets"
