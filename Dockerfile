# The nightly pass: `docker run --rm -v orchestrator:/data --env-file orchestrator.env orchestrator`
FROM python:3.11-slim AS build

WORKDIR /build
COPY setup.cfg pyproject.toml README.md LICENSE constraints.txt ./
COPY orchestrator orchestrator
COPY jobs jobs
COPY schemas schemas
RUN python -m venv /opt/orchestrator \
    && /opt/orchestrator/bin/pip install --no-cache-dir -c constraints.txt .

FROM python:3.11-slim

COPY --from=build /opt/orchestrator /opt/orchestrator
RUN useradd --uid 10001 --create-home orchestrator \
    && install -d -o orchestrator /data

# Ledger and run folders live in a volume; credentials come from outside at run time.
ENV PATH=/opt/orchestrator/bin:$PATH \
    ORCHESTRATOR_HOME=/data
VOLUME /data
WORKDIR /data
USER 10001
ENTRYPOINT ["orchestrator"]
CMD ["poll"]
