# Sourced by {single_gpu,multi_gpu,multi_node}/*.sh: starts a program on the given devices.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# launch single_gpu|multi_gpu|multi_node PROGRAM DEVICES [ARGUMENT ...]
launch() {
    local kind=$1 program=$2 usage command=(python)
    shift 2
    usage="usage: bash scripts/$kind/${program%.py}.sh DEVICES [--config_file FILE] [KEY VALUE ...]"
    [ -n "${1:-}" ] || fail "$usage; DEVICES is, for example, 0 or 0,1, or cpu or cpu,cpu"
    local list=$1 devices
    shift
    check_devices "$list"
    IFS=, read -r -a devices <<<"$list"
    if [ "$kind" = single_gpu ] && [ "${#devices[@]}" -gt 1 ]; then
        fail "single_gpu expects one device, got ${#devices[@]} ('$list'); see scripts/multi_gpu"
    fi
    if [ "$kind" = multi_node ]; then read_nodes; fi

    activate_environment
    use_devices "$list" "${#devices[@]}"
    if [ "$kind" = multi_node ] || [ "${#devices[@]}" -gt 1 ]; then
        export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((($(nproc) + ${#devices[@]} - 1) / ${#devices[@]}))}
        command+=(scripts/run_processes.py --nproc_per_node "${#devices[@]}")
        case $kind in
            multi_node) command+=(--nnodes "$NNODES" --rdzv_backend c10d --rdzv_id cfld
                                  --rdzv_endpoint "$MASTER_ADDR:$MASTER_PORT"
                                  --rdzv_conf "is_host=$([ "$NODE_RANK" = 0 ] && echo 1 || echo 0)")
                        export RESTARTS=${RESTARTS:-3} ;;
            *) command+=(--standalone) ;; # lets the system choose a free port
        esac
    fi
    if [ "$program" = pose_transfer_train.py ] && [[ " $* " != *" --config"* ]]; then
        set -- --config_file configs/fashion_256.yaml "$@"
    fi
    exec "${command[@]}" "$program" "$@"
}

check_devices() {
    local gpu='(0|[1-9][0-9]*|(GPU|MIG)-[0-9A-Za-z/-]+)' twice
    [[ $1 =~ ^(cpu(,cpu)*|$gpu(,$gpu)*)$ ]] ||
        fail "'$1' is not a list of devices; expected GPU numbers or UUIDs, such as 0 or 0,1, or cpu or cpu,cpu"
    twice=$(tr , '\n' <<<"$1" | sort | uniq -d)
    [ "${twice:-cpu}" = cpu ] || fail "'$1' names GPU ${twice//$'\n'/, } twice"
}

# Fail if a GPU is missing: Accelerate would silently use the CPU.
use_devices() {
    local list=$1 count=$2 seen
    if [[ $list == cpu* ]]; then
        export ACCELERATE_USE_CPU=true CUDA_VISIBLE_DEVICES=
        return
    fi
    export CUDA_VISIBLE_DEVICES=$list
    seen=$(python -c 'import torch; print(torch.cuda.device_count())')
    [ "$seen" = "$count" ] ||
        fail "GPU $list: PyTorch sees $seen of $count GPUs; check nvidia-smi, or choose cpu"
}

# Read the variables that the user sets on each machine, or Slurm (one task per node).
read_nodes() {
    export NNODES=${NNODES:-${SLURM_JOB_NUM_NODES:-}} NODE_RANK=${NODE_RANK:-${SLURM_NODEID:-}}
    if [ -z "${MASTER_ADDR:-}" ] && [ -n "${SLURM_JOB_NODELIST:-}" ]; then
        MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
    fi
    export MASTER_ADDR=${MASTER_ADDR:-} MASTER_PORT=${MASTER_PORT:-29500}
    [ -n "$NNODES" ] && [ -n "$NODE_RANK" ] && [ -n "$MASTER_ADDR" ] ||
        fail "multi_node requires NNODES, NODE_RANK (0 on the first machine), MASTER_ADDR; default MASTER_PORT: 29500"
    [[ "$NNODES $NODE_RANK $MASTER_PORT" =~ ^[1-9][0-9]{0,4}\ (0|[1-9][0-9]{0,4})\ [1-9][0-9]{0,4}$ ]] &&
        [ "$NODE_RANK" -lt "$NNODES" ] && [ "$MASTER_PORT" -le 65535 ] ||
        fail "NNODES $NNODES, NODE_RANK $NODE_RANK, MASTER_PORT $MASTER_PORT: expected numbers," \
            "NODE_RANK below NNODES, and MASTER_PORT up to 65535"
}
