# The nightly pass: `docker run -v orchestrator:/data --env-file settings orchestrator`
FROM python:3.11-slim

WORKDIR /build
COPY setup.cfg pyproject.toml README.md LICENSE constraints.txt ./
COPY orchestrator orchestrator
COPY jobs jobs
COPY schemas schemas
RUN pip install --no-cache-dir -c constraints.txt . \
    && useradd --uid 10001 --create-home orchestrator \
    && install -d -o orchestrator /data

# Ledger and run folders live in a volume; credentials come from outside at run time.
ENV ORCHESTRATOR_HOME=/data
VOLUME /data
WORKDIR /data
USER 10001
ENTRYPOINT ["orchestrator"]
CMD ["poll"]
