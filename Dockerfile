# One image for GPU and CPU, as PyTorch's wheels bring CUDA along; or one for CPUs alone, which is far smaller:
#     docker build -t cfld .
#     docker build -t cfld --build-arg PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu .
# Data, runs and downloaded weights stay outside:
#     docker run --rm -it --gpus all --ipc=host -v "$PWD/fashion:/cfld/fashion" -v "$PWD/outputs:/cfld/outputs" \
#         -v "$PWD/pretrained_models:/cfld/pretrained_models" cfld bash scripts/single_gpu/pose_transfer_train.sh 0
#     docker run --rm -it -p 127.0.0.1:7860:7860 cfld python pose_transfer_app.py --host 0.0.0.0 --port 7860
FROM python:3.11-slim-bookworm
# the libraries of OpenCV and MediaPipe; a compiler for torch.compile (MODEL.COMPILE); curl for scripts/download_pretrained.sh
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 libegl1 libgles2 g++ curl \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /cfld
ENV VIRTUAL_ENV=/opt/cfld PATH=/opt/cfld/bin:$PATH
ARG PIP_EXTRA_INDEX_URL
RUN python -m venv "$VIRTUAL_ENV"
COPY requirements.txt requirements-app.txt constraints.txt ./
RUN pip install --no-cache-dir -r requirements.txt -r requirements-app.txt -c constraints.txt
COPY . .
