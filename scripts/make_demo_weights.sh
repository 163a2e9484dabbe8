#!/usr/bin/env bash
# Make the weights of pretrained_models/demo from drawn people alone:
#     bash scripts/make_demo_weights.sh
# Takes eight hours on two CPU cores. Files go to outputs/demo_weights; copy the parts if they are better.
#
# The weights in the repository have a longer history. Their VAE was trained on smaller patterns. Their U-Net and
# encoder started from 30,104 steps with a different encoder and VAE and smaller patterns, followed by the steps below:
# the encoder for 28 minutes, the U-Net for 3,022 steps with the prompt alone and 3,449 steps with branches, 8 pairs
# each. Then the patterns got their present size: the encoder was trained for 10 minutes on the images of the training
# people, and the U-Net for 8,924 steps of 16 pairs. Of the last 7,213 steps, 5,918 used the target alone, and 3,277
# used the lower learning rates below. At last the VAE learned heads in 1,068 steps, held near its former latents, and
# the U-Net made 3,215 steps of 16 pairs on the target alone, with weights of the person: 2,014 at 8e-4, 517 at 4e-4
# with uniform timesteps, and the rest at 2e-4, 8e-5 and 3e-5. Then the VAE learned joints, heads and faces in 4,445
# steps, and the U-Net made 3,494 steps of 16 pairs as before, 1,401 of them at 8e-4, 1,453 at 5e-4, the rest at 1e-4
# and 3e-5. The decoder then made 1,491 steps on sampled latents. At last 4,500 further people were drawn, and the U-Net
# made 3,704 steps on them as before, 1,831 of them at 8e-4, 873 at 4e-4, the rest at 1.5e-4 and 4e-5, and the decoder
# some 1,300 steps with features in its loss. Last came 6,000 more people. The VAE's decoder learned their faces by SSIM:
# some 600 steps of crops, the VAE's encoder frozen, and 1,000 on sampled latents. All other parts, none frozen, made
# 2,816 steps of 16 pairs at 6e-5 to 1.2e-4, then 5e-5 and 2.5e-5, on the target alone, then 4,172 steps at 1.2e-4 and
# 6e-5. The next 2,694 steps, at 1.2e-4 and then 4e-5, had 4,500 new people; the last 4,479, at 1.6e-4 to 3e-5, had
# 40,000, in two images of random views each.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

WORK=outputs/demo_weights
DATA=$WORK/fashion
PARTS=$WORK/parts
SETTINGS=(
    ACCELERATE.OUTPUT_DIR "$WORK" INPUT.ROOT_DIR "$DATA" MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH "$PARTS/vae"
    MODEL.UNET_CONFIG.PRETRAINED_PATH "$PARTS/unet" MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH "$PARTS/scheduler"
    MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH "$PARTS/swin/model.safetensors"
)

# Until the end, encoder and decoder are frozen: gradients of a U-Net that cannot read them would undo the pretraining.
frozen='["appearance_encoder", "prompt_decoder"]'
rate=8e-4

# train RUN START MINUTES [KEY VALUE ...]: train U-Net and adapters from START, or resume the run.
# Two processes with one core each train a third more pairs per second than one process with two cores.
# Errors at the person, its face and its hands count more: they are a small part of the image.
train() {
    local run=$1 start=$2 minutes=$3
    shift 3
    bash scripts/multi_gpu/pose_transfer_train.sh cpu,cpu --config_file configs/demo.yaml "$@" "${SETTINGS[@]}" \
        ACCELERATE.RUN_NAME "$run" ACCELERATE.MIXED_PRECISION no \
        MODEL.PRETRAINED_PATH "$start" MODEL.UNET_CONFIG.TRAIN_ALL True MODEL.U_COND_PERCENT 0.1 \
        MODEL.FROZEN_PARTS "$frozen" INPUT.CACHE latents INPUT.BATCH_SIZE 16 \
        OBJECTIVE.PERSON_WEIGHT 2.0 OBJECTIVE.DETAIL_WEIGHT 4.0 \
        OPTIMIZER.LR "$rate" OPTIMIZER.WARMUP_STEPS 100 OPTIMIZER.EMA_DECAY 0.998 TEST.NUM_PAIRS 32 \
        OPTIMIZER.MAX_MINUTES "$minutes"
}

activate_environment
rm -rf "$WORK/demo" # runs of earlier parts
mkdir -p "$PARTS"
for part in unet vae clip; do
    mkdir -p "$PARTS/$part"
    cp pretrained_models/demo/$part/config.json "$PARTS/$part/"
done
cp -r pretrained_models/demo/scheduler "$PARTS/"

# seed 1000: other people than in the quick start's dataset, which has seed 0
python -m demo.drawn_people --root "$DATA" --train_people 12000 --test_people 50 --photos_per_person 4 --seed 1000
python generate_fashion_datasets.py --root_dir "$DATA" --link
python -m demo.demo_weights vae --parts "$PARTS" --people 24000 --minutes 50
python -m demo.demo_weights init --parts "$PARTS"
python -m demo.demo_weights encoder --parts "$PARTS" --people 24000 --minutes 40
train prompt "$PARTS/start" 60 --config_file configs/ablation_study/no_app.yaml # otherwise the U-Net ignores the prompt
python -m demo.demo_weights branches --parts "$PARTS" --checkpoint "$(newest_checkpoint "$WORK/demo/prompt")"
# the target alone: reconstructing the source teaches copying, and without it training is a third faster
train weights "$PARTS/start_with_branches" 100 MODEL.RECONSTRUCT_SOURCE False
train weights "$PARTS/start_with_branches" 20 MODEL.RECONSTRUCT_SOURCE False OPTIMIZER.OVERRIDE_LR 4e-4
train weights "$PARTS/start_with_branches" 15 MODEL.RECONSTRUCT_SOURCE False OPTIMIZER.OVERRIDE_LR 2e-4
train weights "$PARTS/start_with_branches" 8 MODEL.RECONSTRUCT_SOURCE False OPTIMIZER.OVERRIDE_LR 8e-5
train weights "$PARTS/start_with_branches" 5 OPTIMIZER.OVERRIDE_LR 3e-5
frozen='[]' rate=1e-4 # also in the warm-up, which OVERRIDE_LR leaves alone: at 4e-4, the loss rose
train whole "$(newest_checkpoint "$WORK/demo/weights")" 40 MODEL.RECONSTRUCT_SOURCE False
train whole "$(newest_checkpoint "$WORK/demo/weights")" 15 MODEL.RECONSTRUCT_SOURCE False OPTIMIZER.OVERRIDE_LR 3e-5
python -m demo.demo_weights decoder --parts "$PARTS" --dataset "$DATA" --minutes 30 \
    --checkpoint "$(newest_checkpoint "$WORK/demo/whole")"
python -m demo.demo_weights split --parts "$PARTS" --checkpoint "$(newest_checkpoint "$WORK/demo/whole")"
bash scripts/single_gpu/pose_transfer_train.sh cpu --config_file configs/distill.yaml \
    --config_file configs/demo_distill.yaml "${SETTINGS[@]}" MODEL.PRETRAINED_PATH "$PARTS/checkpoint"
python -m demo.demo_weights student --parts "$PARTS" --checkpoint "$(newest_checkpoint "$WORK/demo/distilled")"
python -m demo.demo_weights clip --parts "$PARTS" --images "$DATA/MEN" --minutes 2
echo "then write benchmarks/gpu_reference.safetensors again: python -m benchmarks.gpu_reference $DATA"
echo "the parts and the finished checkpoint are in $PARTS"
