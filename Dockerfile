# The Dagster UI and daemon with the pipelines of this project; compose.yaml uses it.
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
RUN pip install --no-cache-dir -c constraints.txt -e '.[minilm]'

ENV DAGSTER_HOME=/opt/pipelines/state/dagster
RUN mkdir -m 700 state && mkdir -m 700 "$DAGSTER_HOME" && cp pipelines/framework/dagster.yaml "$DAGSTER_HOME/"
WORKDIR $DAGSTER_HOME
EXPOSE 3000
CMD ["dagster", "dev", "-w", "/opt/pipelines/workspace.yaml", "-h", "0.0.0.0", "-p", "3000"]
