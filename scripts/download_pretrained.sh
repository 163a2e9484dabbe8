#!/usr/bin/env bash
# Download the public weights into pretrained_models/, all of them or some parts:
#     bash scripts/download_pretrained.sh [all|unet|vae|swin|clip|metrics|pose ...]
# Complete files are not downloaded again. An interrupted download is resumed if the server supports it.
# CFLD_DOWNLOAD_MIRROR=https://host/path downloads https://host/path/huggingface.co/... instead of
# https://huggingface.co/...
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

STABLE_DIFFUSION=huggingface.co/stable-diffusion-v1-5/stable-diffusion-v1-5/resolve/main
# part, URL, first digits of the SHA-256 if known (PyTorch puts them into the file name)
FILES="
unet     $STABLE_DIFFUSION/unet/diffusion_pytorch_model.safetensors
vae      $STABLE_DIFFUSION/vae/diffusion_pytorch_model.safetensors
swin     github.com/SwinTransformer/storage/releases/download/v1.0.0/swin_base_patch4_window12_384_22kto1k.pth
clip     huggingface.co/openai/clip-vit-large-patch14/resolve/main/model.safetensors
metrics  download.pytorch.org/models/inception_v3_google-0cc3c7bd.pth  0cc3c7bd
metrics  download.pytorch.org/models/alexnet-owt-7be5be79.pth          7be5be79
metrics  download.pytorch.org/models/vgg16-397923af.pth                397923af
metrics  github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth  6726825d
pose     huggingface.co/yzd-v/DWPose/resolve/main/yolox_l.onnx           7860ae79de6c89a3
pose     huggingface.co/yzd-v/DWPose/resolve/main/dw-ll_ucoco_384.onnx   724f4ff2439ed61a
"

# fetch URL FILE [SHA-256]: download to FILE.part, check it, then rename it
fetch() {
    local address=https://$1 file=$2 sha256=${3:-} problem
    if [ -n "${CFLD_DOWNLOAD_MIRROR:-}" ]; then address=$CFLD_DOWNLOAD_MIRROR/$1; fi
    if [ -f "$file" ]; then
        if problem=$(check "$file" "$sha256"); then
            echo "$file: already downloaded"
            return
        fi
        fail "$file: $problem; delete it and run this command again"
    fi
    mkdir -p "$(dirname "$file")"
    if [ ! -f "$file.part" ] || ! check "$file.part" "$sha256" >/dev/null; then
        command -v curl >/dev/null ||
            fail "cannot download $file without curl; on Debian and Ubuntu: apt-get install curl"
        echo "$file: downloading $address"
        download "$address" "$file.part" || {
            problem="cannot download $file (exit status $? of curl)"
            fail "$problem; on a machine with a network, download $address and copy it to this path"
        }
        if ! problem=$(check "$file.part" "$sha256"); then
            rm "$file.part"
            fail "$address: $problem; the download was deleted, run this command again"
        fi
    fi
    mv "$file.part" "$file"
}

download() {
    local options=(--location --fail --retry 3 --continue-at - --write-out '%{http_code}') answer status=0
    if [ -t 2 ]; then options+=(--progress-bar); else options+=(--silent); fi
    answer=$(curl "${options[@]}" --output "$2" "$1") || status=$?
    # 416: the part is not shorter than the file, so it belongs to another file; 33: the server cannot resume
    if [ "$answer" = 416 ] || [ "$status" = 33 ]; then
        rm "$2" && download "$1" "$2"
        return
    fi
    return "$status"
}

check() {
    python scripts/check_weights.py "$@"
}

wanted=" ${*:-all} "
for part in $wanted; do
    [[ " all unet vae swin clip metrics pose " == *" $part "* ]] ||
        fail "unknown part '$part'; expected all, unet, vae, swin, clip, metrics or pose"
done
activate_environment
while read -r part address sha256; do
    if [ -n "$part" ] && [[ $wanted == *" $part "* || $wanted == *" all "* ]]; then
        fetch "$address" "pretrained_models/$part/${address##*/}" "$sha256" </dev/null
    fi
done <<<"$FILES"
