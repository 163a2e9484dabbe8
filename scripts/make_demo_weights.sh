#!/usr/bin/env bash
# How pretrained_models/demo was made: everything from drawn people, nothing from elsewhere.
# About five and a half hours on two CPU cores. The weights that ship took a longer way to the same place: the VAE was trained on
# smaller patterns, and U-Net and encoder began from ones that 30,104 steps had made in other ways (another encoder, another VAE,
# smaller patterns); from them on it was as here, on patterns as they were then: the encoder 28 minutes, the U-Net 3,022 steps
# with the prompt alone and 3,449 with branches, 8 pairs each. Then the patterns became what they are; the encoder learned them
# for ten minutes from the photos of the training people, and the U-Net for 8,924 steps of 16 pairs; of the last 7,213 of them
# 5,918 were on the target alone, and 3,277 at the lower learning rates below.
# Files go to outputs/demo_weights; copy its parts over when they are better.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

WORK=outputs/demo_weights
DATA=$WORK/fashion
PARTS=$WORK/parts

# train RUN START MINUTES KEY VALUE ...: the U-Net and what leads to it; goes on where the last call for RUN ended.
# Two processes of one core each do a third more pairs a second than one process of two.
# Encoder and decoder stay as they were pretrained: gradients of a U-Net that cannot read them yet would undo that.
train() {
    local run=$1 start=$2 minutes=$3
    shift 3
    bash scripts/multi_gpu/pose_transfer_train.sh cpu,cpu --config_file configs/demo.yaml "$@" \
        ACCELERATE.OUTPUT_DIR "$WORK" ACCELERATE.RUN_NAME "$run" ACCELERATE.MIXED_PRECISION no \
        MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH "$PARTS/vae" MODEL.UNET_CONFIG.PRETRAINED_PATH "$PARTS/unet" \
        MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH "$PARTS/scheduler" \
        MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH "$PARTS/swin/model.safetensors" \
        MODEL.PRETRAINED_PATH "$PARTS/$start" MODEL.UNET_CONFIG.TRAIN_ALL True MODEL.U_COND_PERCENT 0.1 \
        MODEL.FROZEN_PARTS '["appearance_encoder", "prompt_decoder"]' INPUT.ROOT_DIR "$DATA" INPUT.CACHE latents \
        INPUT.BATCH_SIZE 16 \
        OPTIMIZER.LR 8e-4 OPTIMIZER.WARMUP_STEPS 100 OPTIMIZER.EMA_DECAY 0.998 TEST.NUM_PAIRS 32 \
        OPTIMIZER.MAX_MINUTES "$minutes"
}

activate_environment
mkdir -p "$PARTS"
for part in unet vae clip; do
    mkdir -p "$PARTS/$part"
    cp pretrained_models/demo/$part/config.json "$PARTS/$part/"
done
cp -r pretrained_models/demo/scheduler "$PARTS/"

# seed 1000: none of these people is in the quickstart's dataset, which has seed 0
python -m demo.drawn_people --root "$DATA" --train_people 1500 --test_people 50 --photos_per_person 6 --seed 1000
python generate_fashion_datasets.py --root_dir "$DATA" --link
python -m demo.demo_weights vae --parts "$PARTS" --images "$DATA/WOMEN" --minutes 35
python -m demo.demo_weights init --parts "$PARTS"
python -m demo.demo_weights encoder --parts "$PARTS" --people 24000 --minutes 40
train prompt start 60 --config_file configs/ablation_study/no_app.yaml # else the U-Net leaves the prompt unread
python -m demo.demo_weights branches --parts "$PARTS" --checkpoint "$(newest_checkpoint "$WORK/demo/prompt")"
# the target alone: a source in its own pose teaches to copy, and a third more pairs a second go through without it
train weights start_with_branches 100 MODEL.RECONSTRUCT_SOURCE False
train weights start_with_branches 20 MODEL.RECONSTRUCT_SOURCE False OPTIMIZER.OVERRIDE_LR 4e-4
train weights start_with_branches 15 MODEL.RECONSTRUCT_SOURCE False OPTIMIZER.OVERRIDE_LR 2e-4
train weights start_with_branches 8 MODEL.RECONSTRUCT_SOURCE False OPTIMIZER.OVERRIDE_LR 8e-5
train weights start_with_branches 5 OPTIMIZER.OVERRIDE_LR 3e-5
python -m demo.demo_weights split --parts "$PARTS" --checkpoint "$(newest_checkpoint "$WORK/demo/weights")"
python -m demo.demo_weights clip --parts "$PARTS" --images "$DATA/MEN" --minutes 2
echo "the parts and the finished checkpoint are in $PARTS"
