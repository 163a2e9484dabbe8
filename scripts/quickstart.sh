#!/usr/bin/env bash
# From a fresh clone to generated images: draw a dataset, prepare it, train a small model and test it.
#     bash scripts/quickstart.sh
# Run it again to resume; delete outputs/demo to start over.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

DATA=outputs/demo/fashion
TRAIN_PEOPLE=120
TEST_PEOPLE=8
TEST_PAIRS=48 # evenly spaced over the test pairs
CONFIG=configs/demo.yaml
FINISHED=pretrained_models/demo/checkpoint # trained for hours with the same config
RUN=quickstart                             # its folder is outputs/demo/quickstart

# step MESSAGE: print a message with the time since the start
step() {
    printf '\n[%d:%02d] %s\n' $((SECONDS / 60)) $((SECONDS % 60)) "$*"
}

# on_device train|test [ARGUMENT ...]: train or test on the device
on_device() {
    local program=$1
    shift
    bash "scripts/single_gpu/pose_transfer_$program.sh" "$device" "$@" INPUT.ROOT_DIR "$DATA" \
        ACCELERATE.PROJECT_NAME demo TEST.NUM_PAIRS "$TEST_PAIRS"
}

activate_environment
device=cpu
if python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    device=${CUDA_VISIBLE_DEVICES:-0}
    device=${device%%,*}
fi

step "1/4 draw $TRAIN_PEOPLE + $TEST_PEOPLE people and prepare the dataset, in $DATA"
python -m demo.drawn_people --root "$DATA" --train_people "$TRAIN_PEOPLE" --test_people "$TEST_PEOPLE" \
    --photos_per_person 6 --seed 0
python generate_fashion_datasets.py --root_dir "$DATA"

step "2/4 train $CONFIG on $device for a few minutes"
trained=outputs/demo/$RUN/trained # without this file, every call would train for MAX_MINUTES again
if [ -f "$trained" ]; then
    echo "outputs/demo/$RUN: already trained"
else
    on_device train --config_file "$CONFIG" ACCELERATE.RUN_NAME "$RUN"
    touch "$trained"
fi
newest=$(newest_checkpoint "outputs/demo/$RUN")

step "3/4 sample and score $TEST_PAIRS pairs of people that the model has not seen"
on_device test MODEL.PRETRAINED_PATH "$newest" ACCELERATE.RUN_NAME "$RUN"

step "4/4 sample and score the same pairs with the demo checkpoint $FINISHED"
on_device test MODEL.PRETRAINED_PATH "$FINISHED" ACCELERATE.RUN_NAME "${RUN}_finished"

step "done: $TEST_PAIRS pairs of people that neither model has seen"
here=outputs/demo/$RUN/generated/128x128
finished=outputs/demo/${RUN}_finished/generated/128x128
python -m evaluation "trained here=$here/metrics.json" "demo checkpoint=$finished/metrics.json" \
    --grid outputs/demo/quickstart.png
echo "the images of both side by side: outputs/demo/quickstart.png"
echo "images and scores (metrics.json):"
echo "  $here      after a few minutes of training"
echo "  $finished      with the demo checkpoint"
