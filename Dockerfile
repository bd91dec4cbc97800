# Three images: `serve`, the default; `train` (docker build --target train); `ray`, the nodes of a Ray cluster.
#
# TORCH_INDEX says where torch comes from, see deploy/install_torch.py: by default, and on a machine that builds without
# a GPU, the CPU build of PyTorch's own index; `plain` for the CUDA build; or the address of another index.
# PIP_INDEX_URL and PIP_EXTRA_INDEX_URL name a mirror for all packages. Whatever they say, what is installed has the
# versions and hashes of requirements/.

# Any Debian-like image with python3 (3.11 or newer), venv and pip. The digest is of all platforms; a newer one is what
# `docker buildx imagetools inspect python:3.11-slim-bookworm` prints.
ARG BASE=python:3.11-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS tools
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
WORKDIR /build
COPY requirements requirements
# What makes the wheel and the list of what is in the image; it stays outside.
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m venv /opt/tools && /opt/tools/bin/python -m pip install --no-deps --require-hashes \
    -r requirements/build.txt -r requirements/sbom.txt

FROM tools AS build
ARG TORCH_INDEX
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# pip stays outside: what serves has no use for an installer.
RUN python3 -m venv --without-pip /opt/cameo
COPY deploy/install_torch.py deploy/install_torch.py
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 deploy/install_torch.py /opt/cameo/bin/python && \
    python3 -m pip --python /opt/cameo/bin/python install --no-deps --require-hashes -r requirements/serve.txt
# A change of code installs nothing anew but this. The models are copied below, where a newer store may be mounted.
COPY pyproject.toml README.md LICENSE ./
COPY cameo cameo
RUN mkdir model_store && /opt/tools/bin/python -m pip wheel --no-deps --no-build-isolation --no-index -w dist . && \
    python3 -m pip --python /opt/cameo/bin/python install --no-deps --no-index dist/*.whl && \
    ln -s /srv/cameo/model_store "$(/opt/cameo/bin/python -I -c 'import cameo; print(cameo.__path__[0])')"
RUN /opt/tools/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --of JSON \
    --output-file sbom.cdx.json /opt/cameo/bin/python

FROM build AS build-train
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/cameo/bin/python install --no-deps --require-hashes -r requirements/training.txt

FROM build AS build-ray
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/cameo/bin/python install --no-deps --require-hashes -r requirements/ray.txt

FROM ${BASE} AS runtime
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Cameo" \
      org.opencontainers.image.description="A face photo in about a hundred bytes of codebook tokens, and back" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}"
# 1000 is the first user of most Linux machines, who then owns what training writes. /tmp is all it may write here.
RUN useradd --uid 1000 --user-group --no-create-home --home-dir /tmp cameo
ENV PATH=/opt/cameo/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    CAMEO_REVISION=${REVISION}
WORKDIR /srv/cameo
USER 1000:1000

FROM runtime AS train
COPY --from=build-train /opt/cameo /opt/cameo
COPY training training
# matplotlib keeps a list of fonts; whoever the user is, it may write here.
ENV MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

# KubeRay starts `ray`, and asks for its health with wget.
FROM runtime AS ray
USER root
RUN apt-get update && apt-get install -y --no-install-recommends wget && rm -rf /var/lib/apt/lists/*
USER 1000:1000
COPY --from=build-ray /opt/cameo /opt/cameo
COPY app app
COPY model_store model_store
ENV PYTHONPATH=/srv/cameo \
    RAY_USAGE_STATS_ENABLED=0
CMD ["ray", "--help"]

FROM runtime AS serve
COPY --from=build /opt/cameo /opt/cameo
COPY --from=build /build/sbom.cdx.json sbom.cdx.json
COPY app app
COPY model_store model_store
ENV CAMEO_HOST=0.0.0.0 \
    CAMEO_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"CAMEO_PORT\"]}/livez', timeout=2)"]
CMD ["python", "-m", "app"]
