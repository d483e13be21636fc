# syntax=docker/dockerfile:1
# Both programs and the servers that tests stand on. Dependencies have layers of their own,
# below the code: a change of code rebuilds and pushes a few hundred kilobytes.
#
#   docker build --target operator .
#   docker build --target trainer .
ARG BASE=python:3.11-slim

FROM ${BASE} AS base
# PYTHONSAFEPATH: the folder a program is started in must not be able to shadow a module.
ENV PATH=/opt/venv/bin:/usr/local/bin:/usr/bin:/bin \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH=/opt/app
WORKDIR /

# pip's configuration and the certificates it trusts come from the machine that builds, as
# secrets: they are never part of an image.
FROM base AS operator-dependencies
COPY requirements/operator.txt /opt/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/run/certificates.pem \
    python3 -m venv /opt/venv && \
    /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /opt/requirements.txt
# Libraries look the user up; without an entry some of them fail.
RUN /usr/sbin/useradd --uid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin finetune

FROM base AS trainer-dependencies
COPY requirements/trainer.txt /opt/requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    --mount=type=secret,id=certificates,target=/run/certificates.pem \
    python3 -m venv /opt/venv && \
    /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /opt/requirements.txt
RUN /usr/sbin/useradd --uid 10001 --no-create-home --home-dir / --shell /usr/sbin/nologin finetune

FROM operator-dependencies AS operator
COPY operator/ /opt/app/
RUN python -m compileall -q /opt/app
USER 10001:10001
ENTRYPOINT ["python", "-m", "finetune_operator"]

FROM trainer-dependencies AS trainer
COPY operator/finetune_api/ /opt/app/finetune_api/
COPY operator/finetune_data/ /opt/app/finetune_data/
COPY trainer/ /opt/app/
RUN python -m compileall -q /opt/app
USER 10001:10001
ENTRYPOINT ["python", "-m", "finetune_trainer.supervisor"]

# The servers below stand in for the outside world; they are for tests and the demo only.
FROM operator-dependencies AS azure-openai-emulator
COPY operator/ /opt/app/
COPY tests/emulators/azure_openai/ /opt/app/azure_openai/
RUN python -m compileall -q /opt/app
USER 10001:10001
ENTRYPOINT ["python", "-m", "azure_openai"]

FROM operator-dependencies AS hub
COPY --from=smollm2 / /opt/hub/models/HuggingFaceTB/SmolLM2-135M-Instruct/
COPY examples/data/gsm8k-sft/ /opt/hub/datasets/finetune/gsm8k-sft/
COPY tests/emulators/hub/ /opt/app/hub/
RUN python -m compileall -q /opt/app
USER 10001:10001
ENTRYPOINT ["python", "-m", "hub", "--root", "/opt/hub", "--host", "0.0.0.0"]
