# One image for CPU and GPU: PyTorch's wheels bring CUDA along.
#     docker build -t cfld .
#     docker run --rm -it --gpus all -v "$PWD/fashion:/cfld/fashion" -v "$PWD/outputs:/cfld/outputs" cfld \
#         bash scripts/single_gpu/pose_transfer_train.sh 0
#     docker run --rm -it -p 7860:7860 cfld python pose_transfer_app.py --host 0.0.0.0
FROM python:3.11-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /cfld
ENV VIRTUAL_ENV=/opt/cfld PATH=/opt/cfld/bin:$PATH
RUN python -m venv "$VIRTUAL_ENV"
COPY requirements.txt requirements-app.txt constraints.txt ./
RUN pip install --no-cache-dir -r requirements.txt -r requirements-app.txt -c constraints.txt
COPY . .
