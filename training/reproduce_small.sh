#!/usr/bin/env bash
# Train, bundle and evaluate the bundled models from the motion capture parquet. Takes some six hours on two CPU cores; each
# stage resumes where it stopped.
#   training/reproduce_small.sh mocap.parquet captions.json runs lamp_small
# captions.json: sentences whose words are kept in the vocabulary (KIT-ML's annotations).
# lamp_small: the folder of lamp-small in commit ddc54a2, whose transformers are trained further. The tokenizer is that of the
# lamp-small that ships; three runs of small/tokenizer made it from the one in that commit (training/LOG.md).
set -euo pipefail
python -c "import mitsuba" || { echo "videos by another renderer need: pip install mitsuba"; exit 1; }
data=$1 captions=$2 runs=$3 start=$4
recipes=$(dirname "$0")/recipes/small
bundle=lamp_hf/checkpoints/lamp_small
results=training/results

without_sharealike='data.licenses_left_out=["CC BY-SA 3.0"]' # CC BY-NC, which most clips have, does not mix with it

python - "$bundle" "$runs/tokenizer/model" <<'PYTHON' # the tokenizer in the generator's folder
import sys

from lamp_hf import LampForTextToMotion, MotionFeatureExtractor

source, target = sys.argv[1:]
for part in (LampForTextToMotion.from_pretrained(source).vqvae, MotionFeatureExtractor.from_pretrained(source)):
    part.save_pretrained(target)
PYTHON
python -m training.train_lamp --recipe "$recipes/lamp.yaml" --data "$data" --tokenizer "$runs/tokenizer/model" \
    --output "$runs/lamp" --set "$without_sharealike" data.vocabulary_captions="$captions"
python -m training.train_matcher --recipe "$recipes/matcher.yaml" --data "$data" --tokenizer "$runs/tokenizer/model" \
    --lamp "$runs/lamp/model" --output "$runs/matcher" --set "$without_sharealike"
python -m training.train_dual_encoder --recipe "$recipes/dual_encoder.yaml" --data "$data" --lamp "$runs/lamp/model" \
    --output "$runs/dual_encoder" --set "$without_sharealike"
python -m training.train_tmr --recipe "$recipes/tmr.yaml" --data "$data" --lamp "$runs/lamp/model" --output "$runs/tmr" \
    --set "$without_sharealike"
python -m training.train_text_to_motion --recipe "$recipes/text_to_motion.yaml" --data "$data" \
    --tokenizer "$runs/tokenizer/model" --lamp "$runs/matcher/model" --output "$runs/text_to_motion" \
    --set start="$start" "$without_sharealike"
python -m training.train_evaluator --recipe "$recipes/evaluator.yaml" --data "$data" --output "$runs/evaluator"

python -m training.familiarity --data "$data" --model "$runs/text_to_motion/model" --licenses-left-out "CC BY-SA 3.0" \
    --descriptions descriptions.yaml --sentences 2600
python -m training.bundle --model "$runs/text_to_motion/model" --output "$bundle"
training/evaluate_generator.sh "$bundle" "$data" "$runs/evaluator/model" "$results/lamp_small"
python -m training.evaluate tokenizer --data "$data" --model "$runs/tokenizer/model" --output "$results/lamp_small/tokenizer.json"
python -m training.ablations text-to-motion --data "$data" --tokenizer "$runs/tokenizer/model" --lamp "$runs/lamp/model" \
    --evaluator "$runs/evaluator/model" --output "$runs/ablations" --steps 300
cp "$runs/ablations/ablations.json" "$results/lamp_small/ablations.json"
python -m training.evaluate sampling --data "$data" --model "$bundle" --evaluator "$runs/evaluator/model" --split val \
    --output "$results/lamp_small/sampling.json"
python -m training.evaluation.plot_sampling --sampling "$results/lamp_small/sampling.json" --ablations "$runs/ablations" --output docs/sampling.png

captioning=lamp_hf/checkpoints/lamp_small_captioning
python -m training.train_language_model --recipe "$recipes/language_model.yaml" --data "$data" --output "$runs/language_model" \
    --set "$without_sharealike" data.captions="$captions"
python -m training.train_captioner --recipe "$recipes/captioner.yaml" --data "$data" --lamp "$runs/lamp/model" \
    --language-model "$runs/language_model/model" --output "$runs/captioner" --set "$without_sharealike"
python -m training.bundle --model "$runs/captioner/model" --output "$captioning"
python -m training.evaluate captioning --data "$data" --model "$captioning" --evaluator "$runs/evaluator/model" \
    --output "$results/lamp_small_captioning/captioning.json"
python -m training.evaluate lamp-bertscore --data "$data" --model "$bundle" --output "$results/lamp_small_captioning/lamp_bertscore.json"
python -m training.evaluate generation --data "$data" --model "$bundle" --evaluator "$runs/evaluator/model" \
    --multimodality-texts 8 --cache "$runs/generation" --output "$results/lamp_small/generation.json"
python -m training.evaluate known-systems --data "$data" --model "$bundle" --evaluator "$runs/evaluator/model" \
    --licenses-left-out "CC BY-SA 3.0" --outputs "$runs/known" --output "$results/lamp_small/known_systems.json"
python -m training.ablations captioning --data "$data" --lamp "$runs/lamp/model" --language-model "$runs/language_model/model" \
    --output "$runs/captioning_ablations" --steps 150
cp "$runs/captioning_ablations/ablations.json" "$results/lamp_small_captioning/ablations.json"
python -m training.evaluate retrieval --data "$data" --model "$bundle" \
    --baseline "$runs/dual_encoder/model" "$runs/tmr/model" --output "$results/lamp_small/retrieval.json"
python -m training.evaluate queries --data "$data" --model "$bundle" --output "$results/lamp_small/queries.json"
python -m training.evaluate knock-outs --data "$data" --model "$bundle" --evaluator "$runs/evaluator/model" \
    --licenses-left-out "CC BY-SA 3.0" --output "$results/lamp_small/knock_outs.json"
python -m training.ablations pretraining --data "$data" --tokenizer "$runs/tokenizer/model" --output "$runs/pretraining_ablations" \
    --steps 150 --split test
cp "$runs/pretraining_ablations/ablations.json" "$results/lamp_small/pretraining_ablations.json"
python -m training.evaluate temporal-localization --data "$data" --model "$bundle" --output "$results/lamp_small/temporal_localization.json"
python -m training.evaluate zero-shot-classification --data "$data" --model "$bundle" --output "$results/lamp_small/zero_shot_classification.json"

lavimo=lamp_hf/checkpoints/lavimo_small
python -m training.train_vision --recipe "$recipes/vision.yaml" --data "$data" --output "$runs/vision" \
    --set "$without_sharealike"
python -m training.train_lavimo --recipe "$recipes/lavimo.yaml" --data "$data" --vision "$runs/vision/model" \
    --cache "$runs/videos" --output "$runs/lavimo" --set "$without_sharealike"
python -m training.bundle --model "$runs/lavimo/model" --output "$lavimo"
python -m training.video.render_mitsuba --data "$data" --output "$runs/mitsuba"
python -m training.evaluate lavimo --data "$data" --model "$lavimo" --cache "$runs/videos" --videos "$runs/mitsuba" \
    --output "$results/lavimo_small/retrieval.json"
python -m training.ablations lavimo --data "$data" --vision "$runs/vision/model" --cache "$runs/videos" \
    --output "$runs/lavimo_ablations" --steps 400 --split test
cp "$runs/lavimo_ablations/ablations.json" "$results/lavimo_small/ablations.json"
for model in lamp_small lamp_small_captioning lavimo_small; do
    python -m training.report "$model"
    lamp-hf card "lamp_hf/checkpoints/$model"
done
