# Two images: `serve`, the default, and `train` (docker build --target train).
#
# TORCH says which build of torch goes in:
#   any   the one that pip prefers: the CPU build where an index offers it, otherwise the index's standard build. For
#         Linux that is usually the CUDA build: it serves without a GPU too, but takes several gigabytes.
#   cpu   the CPU build or none. PIP_EXTRA_INDEX_URL must then be the index of torch's CPU wheels.
#   cuda  the standard build, even if PIP_EXTRA_INDEX_URL offers another.

# Any Debian-like image with python3 (3.11 or newer), venv and pip.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG TORCH=any
ARG PIP_EXTRA_INDEX_URL
# pip stays outside: what serves has no use for an installer.
RUN python3 -m venv --without-pip /opt/cameo
WORKDIR /build
# Without its code the project is a list of dependencies and a version; so a change of code installs nothing anew.
COPY pyproject.toml LICENSE ./
RUN --mount=type=cache,target=/root/.cache/pip \
    version=$(sed -n 's/^ *"torch==\([^"]*\)".*/\1/p' pyproject.toml); \
    case "$TORCH" in \
        any) torch="torch==$version" ;; \
        cpu) torch="torch===$version+cpu" ;; \
        cuda) torch="torch===$version" ;; \
        *) echo "TORCH=$TORCH is none of any, cpu, cuda" >&2; exit 2 ;; \
    esac; \
    python3 -m pip --python /opt/cameo/bin/python install "$torch" '.[fast]'

FROM build AS build-train
ARG PIP_EXTRA_INDEX_URL
RUN --mount=type=cache,target=/root/.cache/pip \
    python3 -m pip --python /opt/cameo/bin/python install '.[training]'

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
COPY cameo cameo
COPY training training
# matplotlib keeps a list of fonts; whoever the user is, it may write here.
ENV MPLCONFIGDIR=/tmp/matplotlib
ENTRYPOINT ["python", "-m", "training"]
CMD ["--help"]

FROM runtime AS serve
COPY --from=build /opt/cameo /opt/cameo
COPY cameo cameo
COPY app app
COPY model_store model_store
ENV CAMEO_HOST=0.0.0.0 \
    CAMEO_PORT=8000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s CMD ["python", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"CAMEO_PORT\"]}/livez', timeout=2)"]
CMD ["python", "-m", "app"]
