# Sourced by {single_gpu,multi_gpu,multi_node}/*.sh: the one way to start an entrypoint.
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

# launch single_gpu|multi_gpu|multi_node ENTRYPOINT DEVICES [arguments of the entrypoint ...]
launch() {
    local kind=$1 entrypoint=$2 usage command=(python)
    shift 2
    usage="usage: bash scripts/$kind/${entrypoint%.py}.sh DEVICES [--config_file FILE] [KEY VALUE ...]"
    [ -n "${1:-}" ] || fail "$usage, with DEVICES like 0 or 0,1, or cpu or cpu,cpu"
    local list=$1 devices
    shift
    check_devices "$list"
    IFS=, read -r -a devices <<<"$list"
    if [ "$kind" = single_gpu ] && [ "${#devices[@]}" -gt 1 ]; then
        fail "single_gpu takes one device, '$list' names ${#devices[@]}; see scripts/multi_gpu"
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
            *) command+=(--standalone) ;; # binds port 0, so the free port is found without race
        esac
    fi
    if [ "$entrypoint" = pose_transfer_train.py ] && [[ " $* " != *" --config"* ]]; then
        set -- --config_file configs/fashion_256.yaml "$@"
    fi
    exec "${command[@]}" "$entrypoint" "$@"
}

check_devices() {
    local gpu='(0|[1-9][0-9]*|(GPU|MIG)-[0-9A-Za-z/-]+)' twice
    [[ $1 =~ ^(cpu(,cpu)*|$gpu(,$gpu)*)$ ]] ||
        fail "'$1' is no list of devices; expected GPU numbers or UUIDs like 0 or 0,1, or cpu or cpu,cpu"
    twice=$(tr , '\n' <<<"$1" | sort | uniq -d)
    [ "${twice:-cpu}" = cpu ] || fail "'$1' names GPU ${twice//$'\n'/, } twice"
}

# Accelerate would fall back to the CPU in silence where a GPU is missing.
use_devices() {
    local list=$1 count=$2 seen
    if [[ $list == cpu* ]]; then
        export ACCELERATE_USE_CPU=true CUDA_VISIBLE_DEVICES=
        return
    fi
    export CUDA_VISIBLE_DEVICES=$list
    seen=$(python -c 'import torch; print(torch.cuda.device_count())')
    [ "$seen" = "$count" ] ||
        fail "GPU $list: PyTorch sees $seen of these $count; see nvidia-smi, or give cpu as device"
}

# Set by the user on each machine, or by Slurm (one task a node).
read_nodes() {
    export NNODES=${NNODES:-${SLURM_JOB_NUM_NODES:-}} NODE_RANK=${NODE_RANK:-${SLURM_NODEID:-}}
    if [ -z "${MASTER_ADDR:-}" ] && [ -n "${SLURM_JOB_NODELIST:-}" ]; then
        MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
    fi
    export MASTER_ADDR=${MASTER_ADDR:-} MASTER_PORT=${MASTER_PORT:-29500}
    [ -n "$NNODES" ] && [ -n "$NODE_RANK" ] && [ -n "$MASTER_ADDR" ] ||
        fail "multi_node needs NNODES, NODE_RANK (0 on the first machine), MASTER_ADDR; MASTER_PORT: 29500"
    [[ "$NNODES $NODE_RANK $MASTER_PORT" =~ ^[1-9][0-9]{0,4}\ (0|[1-9][0-9]{0,4})\ [1-9][0-9]{0,4}$ ]] &&
        [ "$NODE_RANK" -lt "$NNODES" ] && [ "$MASTER_PORT" -le 65535 ] ||
        fail "NNODES $NNODES, NODE_RANK $NODE_RANK, MASTER_PORT $MASTER_PORT: expected numbers," \
            "NODE_RANK below NNODES and MASTER_PORT up to 65535"
}
