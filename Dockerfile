# Two images of one suite: `docker build --target cpu -t llmrouter:0.1.0 .`, or `--target cuda`.
# A tag may move: fix the base by `--build-arg BASE=python:3.11-slim-bookworm@sha256:…`.
ARG BASE=python:3.11-slim-bookworm

# The engine is compiled here; neither compiler nor sources go further than the wheel.
FROM ${BASE} AS wheel
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install --yes --no-install-recommends g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml CMakeLists.txt README.md LICENSE ./
COPY native ./native
COPY services ./services
COPY clients/python ./clients/python
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .
# Lists what an environment has (SBOM).
RUN python -m venv /opt/sbom \
 && /opt/sbom/bin/pip install --no-cache-dir cyclonedx-bom==7.5.0

# What runs, and the list of what is in it. `llmrouter models pull` asks pip where a model lies.
FROM wheel AS environment-cpu
RUN python -m venv --without-pip /opt/llmrouter \
 && python -m pip --python /opt/llmrouter/bin/python install --no-cache-dir pip "$(echo /wheels/llmrouter-*.whl)[cpu,ctranslate2]" \
 && /opt/sbom/bin/cyclonedx-py environment --output-file /opt/llmrouter/sbom.cdx.json /opt/llmrouter/bin/python

# The CUDA libraries come with the wheels; the driver comes from the node.
FROM wheel AS environment-cuda
RUN python -m venv --without-pip /opt/llmrouter \
 && python -m pip --python /opt/llmrouter/bin/python install --no-cache-dir pip "$(echo /wheels/llmrouter-*.whl)[gpu,ctranslate2]" \
 && /opt/sbom/bin/cyclonedx-py environment --output-file /opt/llmrouter/sbom.cdx.json /opt/llmrouter/bin/python

# Runs as nobody in particular, on a root that may be read-only: written are the data directory and,
# by `models pull`, /tmp.
FROM ${BASE} AS runtime
RUN python -m pip uninstall --yes pip setuptools wheel \
 && useradd --system --uid 65532 --no-create-home --shell /usr/sbin/nologin llmrouter \
 && install --directory --owner=65532 --group=65532 /var/lib/llmrouter
ENV PATH=/opt/llmrouter/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    XDG_DATA_HOME=/var/lib \
    LLMROUTER_ENV=production \
    LLMROUTER_GATEWAY__HOST=0.0.0.0 \
    LLMROUTER_SELECTOR__HOST=0.0.0.0 \
    LLMROUTER_CACHE__HOST=0.0.0.0 \
    LLMROUTER_INFERENCE__HOST=0.0.0.0
VOLUME ["/var/lib/llmrouter"]
EXPOSE 50051 50052 50053 50054 8080
USER 65532:65532
ENTRYPOINT ["llmrouter"]
CMD ["up"]
# Of the gateway, which in `up` is ready last. A container that runs another service is started with
# `--health-cmd 'llmrouter health inference'`; Kubernetes probes by itself.
HEALTHCHECK --interval=30s --timeout=10s --start-period=120s CMD ["llmrouter", "health"]
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="llmrouter" \
      org.opencontainers.image.description="gRPC services in front of language models" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

FROM runtime AS cuda
ENV NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=environment-cuda /opt/llmrouter /opt/llmrouter

# Last, so that it is what a build without a target makes.
FROM runtime AS cpu
COPY --from=environment-cpu /opt/llmrouter /opt/llmrouter
