#!/usr/bin/env bash
# Distill the demo checkpoint into a few-step student, and compare both on people that neither has seen: scores of the
# images, and similarity to the teacher's images in 50 steps.
#     bash scripts/distill_demo.sh [KEY VALUE ...]     training settings, such as OPTIMIZER.MAX_MINUTES 20
# Takes 15 minutes on one CPU core, ten of them for the training. Files go to outputs/demo_distill. Each call starts
# over, but reuses the drawn people.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

WORK=outputs/demo_distill
DATA=$WORK/fashion
TEACHER=pretrained_models/demo/checkpoint
GUIDANCE=(TEST.FULL_GUIDANCE_SCALE 1.2) # of the teacher: what configs/demo_distill.yaml distills
PAIRS=48 # evenly spaced over 50 people

# sample NAME CHECKPOINT STEPS [KEY VALUE ...]: sample and score the test pairs in the run NAME
sample() {
    local name=$1 checkpoint=$2 steps=$3
    shift 3
    bash scripts/single_gpu/pose_transfer_test.sh cpu MODEL.PRETRAINED_PATH "$checkpoint" INPUT.ROOT_DIR "$DATA" \
        ACCELERATE.OUTPUT_DIR "$WORK" ACCELERATE.RUN_NAME "$name" TEST.NUM_PAIRS "$PAIRS" \
        TEST.NUM_INFERENCE_STEPS "$steps" "$@" >/dev/null
    scores+=("$name=$WORK/demo/$name/generated/128x128/metrics.json")
    folders+=("$name=$WORK/demo/$name/generated/128x128")
}

activate_environment
rm -rf "$WORK/demo"
# the test people are those of scripts/make_demo_weights.sh
python -m demo.drawn_people --root "$DATA" --train_people 120 --test_people 50 --photos_per_person 6 --seed 1000
python generate_fashion_datasets.py --root_dir "$DATA" --link
bash scripts/single_gpu/pose_transfer_train.sh cpu --config_file configs/distill.yaml \
    --config_file configs/demo_distill.yaml INPUT.ROOT_DIR "$DATA" ACCELERATE.OUTPUT_DIR "$WORK" \
    MODEL.PRETRAINED_PATH "$TEACHER" TEST.NUM_PAIRS "$PAIRS" "$@"
newest=$(newest_checkpoint "$WORK/demo/distilled")

scores=() folders=()
sample teacher_50 "$TEACHER" 50 "${GUIDANCE[@]}"
for steps in 4 2 1; do
    sample "teacher_ddim_$steps" "$TEACHER" "$steps" "${GUIDANCE[@]}"
    sample "teacher_unipc_$steps" "$TEACHER" "$steps" "${GUIDANCE[@]}" MODEL.SCHEDULER_CONFIG.NAME unipc
    sample "student_$steps" "$newest" "$steps"
    sample "student_ddim_$steps" "$newest" "$steps" MODEL.SCHEDULER_CONFIG.NAME ddim
done
echo "scores of $PAIRS pairs against the target images:"
python -m evaluation "${scores[@]}"
echo "similarity to the images of the teacher in 50 steps:"
python - "${folders[@]}" <<'END'
import sys
from pathlib import Path

from torchvision.io import decode_image

from evaluation.tables import score_table
from evaluation.scores import Scorer

rows = dict(row.split("=", 1) for row in sys.argv[1:])
teachers = sorted(Path(rows.pop("teacher_50")).glob("*_vis.png"))
for label, folder in rows.items():
    scorer = Scorer("cpu")
    for index, path in enumerate(teachers):
        scorer.update(decode_image(Path(folder, path.name))[None], decode_image(path)[None], [index])
    rows[label] = scorer.compute()
print(score_table(rows))
END
