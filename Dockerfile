# The server on a CPU, without torch. `docker build --tag stepstream .`
ARG PYTHON_IMAGE=python:3.13.15-slim-bookworm

FROM ${PYTHON_IMAGE} AS builder
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
RUN python -m venv /opt/build && python -m venv --without-pip /opt/stepstream
COPY requirements/build.txt requirements/cpu.txt requirements/
RUN /opt/build/bin/pip install --require-hashes --no-deps -r requirements/build.txt \
    && /opt/build/bin/pip --python /opt/stepstream/bin/python install --require-hashes --no-deps --only-binary :all: \
        -r requirements/cpu.txt
COPY pyproject.toml README.md LICENSE ./
COPY service service
COPY export export
RUN /opt/build/bin/pip wheel --no-build-isolation --no-deps --wheel-dir dist . \
    && /opt/build/bin/pip --python /opt/stepstream/bin/python install --no-deps --no-index dist/*.whl

FROM ${PYTHON_IMAGE} AS serve
COPY --from=builder /opt/stepstream /opt/stepstream
ENV PATH=/opt/stepstream/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STEPSTREAM_HOST=0.0.0.0 \
    STEPSTREAM_METRICS_HOST=0.0.0.0 \
    STEPSTREAM_MODEL_STORE=/models
USER 10001:10001
WORKDIR /tmp
EXPOSE 8001 8002
STOPSIGNAL SIGTERM
# No proxy, whatever the environment says: the probe never leaves the container.
HEALTHCHECK --interval=5s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "from urllib import request; request.build_opener(request.ProxyHandler({})).open('http://127.0.0.1:8002/readyz', timeout=4)"]
ENTRYPOINT ["stepstream"]
CMD ["serve"]
