#!/usr/bin/env bash
# Check that the GPUs compute the right values, and how fast, in about ten minutes; report: outputs/gpu_check
#     bash scripts/check_gpu.sh [DEVICES] [--output FOLDER] [--only NAME ...]
# DEVICES is, for example, 0 or 0,1, or cpu for small sizes on the CPU; without it all GPUs.
source "$(dirname "${BASH_SOURCE[0]}")/launch.sh"
if [ $# -gt 0 ] && [[ $1 != -* ]]; then
    check_devices "$1"
    case $1 in
        cpu*) export ACCELERATE_USE_CPU=true CUDA_VISIBLE_DEVICES= ;;
        *) export CUDA_VISIBLE_DEVICES=$1 ;;
    esac
    shift
fi
activate_environment
exec python -m benchmarks.check_gpu "$@"
