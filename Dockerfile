# The pipelines of this project with Dagster; compose.yaml and deploy/compose.yaml use it.
FROM python:3.11-slim

WORKDIR /opt/pipelines
COPY constraints.txt pyproject.toml README.md LICENSE ./
COPY pipelines pipelines
COPY assets assets
COPY resources resources
COPY configs configs
COPY workspace.yaml setup.py ./

# For another package index than pip's own, such as a mirror or the CPU builds of torch.
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
# Extras of pyproject.toml, and what else is to be installed, such as dagster-k8s and s3fs.
ARG EXTRAS=minilm
ARG PACKAGES
RUN pip install --no-cache-dir -c constraints.txt -e ".[${EXTRAS}]" ${PACKAGES}

ENV DAGSTER_HOME=/opt/pipelines/state/dagster
RUN mkdir -m 700 state && mkdir -m 700 "$DAGSTER_HOME" && cp pipelines/framework/dagster.yaml "$DAGSTER_HOME/"
WORKDIR $DAGSTER_HOME
EXPOSE 3000
CMD ["dagster", "dev", "-w", "/opt/pipelines/workspace.yaml", "-h", "0.0.0.0", "-p", "3000"]
