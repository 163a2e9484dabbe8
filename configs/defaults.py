"""Every setting of the project, one comment each.

Keys of the published system keep their published names and defaults, so its YAML files and command-line
overrides work unchanged. Keys marked (ours) are additions.
"""

from yacs.config import CfgNode as CN

_C = CN()

_C.ACCELERATE = CN()
_C.ACCELERATE.OUTPUT_DIR = "outputs"  # (ours) runs are written to OUTPUT_DIR/PROJECT_NAME/RUN_NAME
_C.ACCELERATE.PROJECT_NAME = "CFLD"
_C.ACCELERATE.RUN_NAME = "baseline"
_C.ACCELERATE.MIXED_PRECISION = "fp16"  # no, fp16 or bf16; a CPU run falls back from fp16 to no
_C.ACCELERATE.ALLOW_TF32 = True  # TensorFloat-32 matrix products on GPUs that have them
_C.ACCELERATE.SEED = 3407  # every random choice follows from this, whatever the number of processes
_C.ACCELERATE.GRADIENT_ACCUMULATION_STEPS = 1  # INPUT.BATCH_SIZE is divided by it
_C.ACCELERATE.LOG_PERIOD = 10  # optimizer steps between log lines
_C.ACCELERATE.EVAL_PERIOD = 5  # epochs between evaluations; a checkpoint is written at each
_C.ACCELERATE.TRACKERS = ["tensorboard"]  # (ours) any of tensorboard, wandb
_C.ACCELERATE.BEST_SCORE = "SSIM"  # (ours) the checkpoint best in this score is kept beside the last
_C.ACCELERATE.CHECKPOINT_STEPS = 0  # (ours) optimizer steps between further checkpoints; 0 writes none
_C.ACCELERATE.CHECKPOINT_MINUTES = 30.0  # (ours) most minutes between checkpoints; 0 does not look at the clock
_C.ACCELERATE.KEEP_CHECKPOINTS = 2  # (ours) the newest so many are kept beside the best
_C.ACCELERATE.SPIKE_SIGMA = 6.0  # (ours) report a loss so many standard deviations above the usual; 0 never
_C.ACCELERATE.TIMEOUT_MINUTES = 30.0  # (ours) a process that waits longer for the others gives up
_C.ACCELERATE.RESUME = True  # (ours) continue from the newest checkpoint of the run folder

_C.MODEL = CN()
_C.MODEL.PRETRAINED_PATH = ""  # a checkpoint folder, ours or of the published system
_C.MODEL.LAST_EPOCH = 0  # epochs already trained when PRETRAINED_PATH is a checkpoint without a step count
_C.MODEL.RANDOM_WEIGHTS = False  # (ours) build every part from its JSON config, for tests and benchmarks
_C.MODEL.FROZEN_PARTS = []  # (ours) any of appearance_encoder, prompt_decoder, hybrid_granularity_adapter, pose_adapter
_C.MODEL.GRADIENT_CHECKPOINTING = "auto"  # (ours) recompute U-Net activations: off, on, or auto (where memory is short)
_C.MODEL.CHANNELS_LAST = False  # (ours) memory layout that convolutions of GPUs prefer
_C.MODEL.COMPILE = "off"  # (ours) torch.compile of the repeated blocks: off, default, or reduce-overhead (CUDA graphs)
_C.MODEL.RECONSTRUCT_SOURCE = True  # (ours) False: the loss is the target's alone, without the source in its own pose
_C.MODEL.U_COND_PERCENT = 0.2  # chance that the learned prompt replaces the coarse prompt in training
_C.MODEL.U_COND_DOWN_BLOCK_GUIDANCE = False  # ... and the pose is dropped with it
_C.MODEL.U_COND_UP_BLOCK_GUIDANCE = False  # ... and the appearance is dropped with it

_C.MODEL.FIRST_STAGE_CONFIG = CN()
_C.MODEL.FIRST_STAGE_CONFIG.PRETRAINED_PATH = "pretrained_models/vae"
_C.MODEL.FIRST_STAGE_CONFIG.SMALL_DECODER_PATH = ""  # (ours) folder of an AutoencoderTiny that decodes test samples

_C.MODEL.UNET_CONFIG = CN()
_C.MODEL.UNET_CONFIG.PRETRAINED_PATH = "pretrained_models/unet"
_C.MODEL.UNET_CONFIG.TRAINABLE_BLOCK_IDX = [11, 10, 9, 8, 7, 6, 5, 4, 3]  # up-block attentions, 3 a block
_C.MODEL.UNET_CONFIG.TRAIN_SELF_ATTN_Q = False
_C.MODEL.UNET_CONFIG.TRAIN_SELF_ATTN_K = False
_C.MODEL.UNET_CONFIG.TRAIN_SELF_ATTN_V = False
_C.MODEL.UNET_CONFIG.TRAIN_CROSS_ATTN_Q = False
_C.MODEL.UNET_CONFIG.TRAIN_CROSS_ATTN_K = True
_C.MODEL.UNET_CONFIG.TRAIN_CROSS_ATTN_V = True
_C.MODEL.UNET_CONFIG.TRAIN_ALL = False  # (ours) train the whole U-Net, as when making the demo weights

_C.MODEL.SCHEDULER_CONFIG = CN()
_C.MODEL.SCHEDULER_CONFIG.NAME = "ddpm"  # ddpm, ddim, euler, pndm, unipc, dpmsolver++ or lcm
_C.MODEL.SCHEDULER_CONFIG.PRETRAINED_PATH = "pretrained_models/scheduler"
_C.MODEL.SCHEDULER_CONFIG.CUBIC_SAMPLING = True  # timesteps (1 - u^3) * 1000 in training, else uniform
_C.MODEL.SCHEDULER_CONFIG.ORIGINAL_INFERENCE_STEPS = 50  # (ours) steps of the teacher whose timesteps lcm is taught on

# The appearance encoder, a Swin transformer. DEPTHS [] leaves it out; with PRETRAINED_PATH "" it begins at random.
_C.MODEL.COND_STAGE_CONFIG = CN()
_C.MODEL.COND_STAGE_CONFIG.PRETRAINED_PATH = "pretrained_models/swin/swin_base_patch4_window12_384_22kto1k.pth"
_C.MODEL.COND_STAGE_CONFIG.EMBED_DIM = 128
_C.MODEL.COND_STAGE_CONFIG.DEPTHS = [2, 2, 18, 2]
_C.MODEL.COND_STAGE_CONFIG.NUM_HEADS = [4, 8, 16, 32]
_C.MODEL.COND_STAGE_CONFIG.WINDOW_SIZE = 16
_C.MODEL.COND_STAGE_CONFIG.DROP_PATH_RATE = 0.2
_C.MODEL.COND_STAGE_CONFIG.LAST_NORM = False  # the decoder reads the pooled, normalised vector

_C.MODEL.APPEARANCE_GUIDANCE_CONFIG = CN()  # hybrid-granularity attention: one entry a branch
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.CONVIN_KERNEL_SIZE = [1, 1, 1, 1, 1, 1, 1, 1, 1]
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.CONVIN_STRIDE = [1, 1, 1, 1, 1, 1, 1, 1, 1]
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.CONVIN_PADDING = [0, 0, 0, 0, 0, 0, 0, 0, 0]
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.ATTN_RESIDUAL_BLOCK_IDX = [11, 10, 9, 8, 7, 6, 5, 4, 3]
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.INNER_DIMS = [128, 128, 128, 256, 256, 256, 512, 512, 512]
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.CTX_DIMS = [320, 320, 320, 640, 640, 640, 1280, 1280, 1280]
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.EMBED_DIMS = [64, 64, 64, 128, 128, 128, 256, 256, 256]
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.HEADS = [2, 2, 2, 4, 4, 4, 8, 8, 8]
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.DEPTH = 4  # transformer blocks a branch
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.TO_SELF_ATTN = False
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.TO_QUERIES = True
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.TO_KEYS = False
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.TO_VALUES = False
_C.MODEL.APPEARANCE_GUIDANCE_CONFIG.DETACH_INPUT = False  # no gradient from the branches to the encoder

_C.MODEL.POSE_GUIDANCE_CONFIG = CN()
_C.MODEL.POSE_GUIDANCE_CONFIG.DOWNSCALE_FACTOR = 4
_C.MODEL.POSE_GUIDANCE_CONFIG.POSE_CHANNELS = 21
_C.MODEL.POSE_GUIDANCE_CONFIG.IN_CHANNELS = 320
_C.MODEL.POSE_GUIDANCE_CONFIG.CHANNELS = [320, 640, 1280]

_C.MODEL.DECODER_CONFIG = CN()
_C.MODEL.DECODER_CONFIG.N_CTX = 16  # tokens of the prompt
_C.MODEL.DECODER_CONFIG.CTX_DIM = 768  # width of the prompt
_C.MODEL.DECODER_CONFIG.DEPTH = 8  # > 0 decoder blocks; 0 CLIP embedder; -1 no prompt; -2 linear projection
_C.MODEL.DECODER_CONFIG.HEADS = 24
_C.MODEL.DECODER_CONFIG.POSE_QUERY = False  # queries from the pose adapter's last map instead of learned ones
_C.MODEL.DECODER_CONFIG.CLIP_PRETRAINED_PATH = "pretrained_models/clip"  # (ours) read when DEPTH is 0

_C.OPTIMIZER = CN()
_C.OPTIMIZER.NAME = "adam"
_C.OPTIMIZER.EPOCHS = 100
_C.OPTIMIZER.WARMUP_STEPS = 1000
_C.OPTIMIZER.DECAY_EPOCHS = [50]
_C.OPTIMIZER.LR = 1.0e-4
_C.OPTIMIZER.SCALE_LR = False  # multiply LR by INPUT.BATCH_SIZE
_C.OPTIMIZER.WARMUP_RATE = 0.1
_C.OPTIMIZER.DECAY_RATE = 0.1
_C.OPTIMIZER.OVERRIDE_LR = 0.0  # > 0: this learning rate after the warm-up, whatever the schedule says
_C.OPTIMIZER.MAX_GRAD_NORM = 0.0  # (ours) clip gradients to this norm; 0 does not clip
_C.OPTIMIZER.MAX_BAD_STEPS = 20  # (ours) skipped steps (not finite) in a row at which training ends
_C.OPTIMIZER.ROLLBACKS = 0  # (ours) times that it goes back to the last checkpoint instead of ending
_C.OPTIMIZER.ROLLBACK_LR_RATE = 0.5  # (ours) multiplies the learning rate each time
_C.OPTIMIZER.EMA_DECAY = 0.0  # (ours) sample from an exponential moving average of the weights; 0 is off
_C.OPTIMIZER.MAX_MINUTES = 0.0  # (ours) end training after so many minutes; 0 trains all epochs

_C.INPUT = CN()
_C.INPUT.ROOT_DIR = "./fashion"
_C.INPUT.DATASET = "fashion"  # (ours) fashion, market or custom: how the files under ROOT_DIR are laid out
_C.INPUT.FRAME = [256, 176]  # (ours) height, width of the frame of the keypoints, read when DATASET is custom
_C.INPUT.BATCH_SIZE = 224  # pairs in an optimizer step, over all processes and accumulation steps
_C.INPUT.NUM_WORKERS = 8  # loader processes of each training process

_C.INPUT.CACHE = "off"  # (ours) off, photos or latents: what is computed once for all epochs, see docs/performance.md
_C.INPUT.CACHE_DIR = "outputs/cache"  # (ours) where

_C.INPUT.GT = CN()
_C.INPUT.GT.IMG_SIZE = [512, 512]  # height, width of what the VAE encodes and decodes

_C.INPUT.COND = CN()
_C.INPUT.COND.IMG_SIZE = [256, 256]
_C.INPUT.COND.PRED_ASPECT_RATIO = [0.3, 1 / 0.3]  # of the blocks of the mask
_C.INPUT.COND.PRED_RATIO = []  # masked share of the photo, one is drawn a sample; [] does not mask
_C.INPUT.COND.PRED_RATIO_VAR = []  # +- to each PRED_RATIO
_C.INPUT.COND.MASK_PATCH_SIZE = 8
_C.INPUT.COND.MIN_SCALE = 1.0  # < 1: random resized crop of the photo with at least this share of its area

_C.INPUT.POSE = CN()
_C.INPUT.POSE.IMG_SIZE = [256, 256]

_C.TEST = CN()
_C.TEST.NUM_INFERENCE_STEPS = 50
_C.TEST.MICRO_BATCH_SIZE = 16  # images sampled at once by each process
_C.TEST.NUM_WORKERS = 8
_C.TEST.IMG_SIZE = [256, 176]  # the finished sample and the ground truth are resized to this
_C.TEST.NUM_PAIRS = 0  # (ours) so many test pairs, evenly spaced; 0 takes all
_C.TEST.OVERWRITE = False  # (ours) make images again that are already in the output folder
_C.TEST.METRICS_PATH = "pretrained_models/metrics"  # (ours) network weights of FID and LPIPS

_C.TEST.DDIM_INVERSION_STEPS = 0  # > 0: start from the DDIM inversion of the source instead of noise
_C.TEST.DDIM_INVERSION_DOWN_BLOCK_GUIDANCE = False  # invert with the source's pose
_C.TEST.DDIM_INVERSION_UP_BLOCK_GUIDANCE = False  # invert with the source's appearance
_C.TEST.DDIM_INVERSION_UNCONDITIONAL = True  # invert with the learned prompt, else with the coarse prompt

# uc_full, updown_full, down_full, uc_down_full, uc_down_updown_cdown or uc_down_updown_full
_C.TEST.GUIDANCE_TYPE = "uc_down_full"
_C.TEST.GUIDANCE_SCALE = 2.0  # g of uc_down_updown_cdown
_C.TEST.DOWN_BLOCK_GUIDANCE_SCALE = 2.0  # d: pose
_C.TEST.UP_BLOCK_GUIDANCE_SCALE = 2.0  # published, read by no guidance type; kept so that its files load
_C.TEST.ALL_BLOCK_GUIDANCE_SCALE = 2.0  # a: appearance on top of pose
_C.TEST.FULL_GUIDANCE_SCALE = 2.0  # f: everything
_C.TEST.DEEP_CACHE_INTERVAL = 1  # (ours) run the U-Net's deep blocks at every so many steps; 1 is exact
_C.TEST.GUIDANCE_INTERVAL = [0.0, 1.0]  # (ours) share of the steps in which guidance acts; outside, everything alone

_C.DISTILL = CN()  # (ours) the teacher's guidance, which distillation folds into the student; as the keys of TEST
_C.DISTILL.GUIDANCE_TYPE = "uc_down_full"
_C.DISTILL.GUIDANCE_SCALE = 2.0
_C.DISTILL.DOWN_BLOCK_GUIDANCE_SCALE = 2.0
_C.DISTILL.ALL_BLOCK_GUIDANCE_SCALE = 2.0
_C.DISTILL.FULL_GUIDANCE_SCALE = 2.0


def default_config() -> CN:
    """A fresh, mutable copy of every setting."""
    return _C.clone()
