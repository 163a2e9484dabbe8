#!/usr/bin/env bash
# How pretrained_models/demo was made: everything from drawn people, nothing from elsewhere.
# About three and a half hours on two CPU cores. The weights that ship took a longer way: the U-Net had 6,562 steps with an
# encoder from scratch, 1,798 with one pretrained on mean colours, 1,502 with a VAE of 16 channels in place of 8, 11,744 with the
# encoder pretrained for another 38 minutes as here, and 8,498 with the patterns of cloth as they are drawn now; the VAE saw smaller
# ones only. Files go to outputs/demo_weights; copy its parts over when they are better.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

WORK=outputs/demo_weights
DATA=$WORK/fashion
PARTS=$WORK/parts

# train MINUTES KEY VALUE ...: the whole model, U-Net included; goes on where the last call ended
train() {
    local minutes=$1
    shift
    bash scripts/single_gpu/pose_transfer_train.sh cpu --config_file configs/demo.yaml \
        ACCELERATE.OUTPUT_DIR "$WORK" ACCELERATE.RUN_NAME weights ACCELERATE.MIXED_PRECISION no \
        MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH "$PARTS/vae" MODEL.UNET_CONFIG.PRETRAINED_PATH "$PARTS/unet" \
        MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH "$PARTS/scheduler" \
        MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH "$PARTS/swin/model.safetensors" \
        MODEL.PRETRAINED_PATH "$PARTS/start" MODEL.UNET_CONFIG.TRAIN_ALL True MODEL.U_COND_PERCENT 0.1 \
        INPUT.ROOT_DIR "$DATA" INPUT.CACHE latents \
        OPTIMIZER.LR 8e-4 OPTIMIZER.WARMUP_STEPS 100 OPTIMIZER.EMA_DECAY 0.998 TEST.NUM_PAIRS 32 \
        OPTIMIZER.MAX_MINUTES "$minutes" "$@"
}

activate_environment
mkdir -p "$PARTS"
for part in unet vae clip; do
    mkdir -p "$PARTS/$part"
    cp pretrained_models/demo/$part/config.json "$PARTS/$part/"
done
cp -r pretrained_models/demo/scheduler "$PARTS/"

# seed 1000: none of these people is in the quickstart's dataset, which has seed 0
python -m datasets.drawn_people --root "$DATA" --train_people 1500 --test_people 50 --photos_per_person 6 --seed 1000
python generate_fashion_datasets.py --root_dir "$DATA" --link
python -m training.demo_weights vae --parts "$PARTS" --images "$DATA/WOMEN" --minutes 35
python -m training.demo_weights init --parts "$PARTS"
python -m training.demo_weights encoder --parts "$PARTS" --people 24000 --minutes 40
UNIFORM=(MODEL.SCHEDULER_CONFIG.CUBIC_SAMPLING False) # later: of the steps that make patterns, cubic sampling sees few
train 45
train 50 "${UNIFORM[@]}"
train 14 "${UNIFORM[@]}" OPTIMIZER.OVERRIDE_LR 2.5e-4
train 9 "${UNIFORM[@]}" OPTIMIZER.OVERRIDE_LR 4e-5
newest=$(python -c 'import json, sys; print(json.load(open(sys.argv[1]))["checkpoint"])' \
    "$WORK/demo/weights/newest_checkpoint.json")
python -m training.demo_weights split --parts "$PARTS" --checkpoint "$WORK/demo/weights/$newest"
python -m training.demo_weights clip --parts "$PARTS" --images "$DATA/MEN" --minutes 2
echo "the parts and the finished checkpoint are in $PARTS"
