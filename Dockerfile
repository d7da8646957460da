# One image, two roles: `serve` (the front end, the default) and `worker`.
FROM python:3.13-slim AS build
WORKDIR /build
RUN python -m venv /opt/dragoman
COPY requirements.lock .
RUN /opt/dragoman/bin/pip install --no-cache-dir --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY gateway gateway
COPY workers workers
# `docker build --build-arg COMMIT=$(git rev-parse --short HEAD)`: `dragoman --version` shows it.
ARG COMMIT=
RUN echo "$COMMIT" > gateway/commit.txt
RUN /opt/dragoman/bin/pip install --no-cache-dir --no-deps --no-build-isolation . \
 && /opt/dragoman/bin/pip uninstall --yes pip setuptools

FROM python:3.13-slim
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin dragoman
COPY --from=build /opt/dragoman /opt/dragoman
ENV PATH=/opt/dragoman/bin:$PATH \
    GATEWAY_HOST=0.0.0.0 \
    GATEWAY_ADMIN_HOST=0.0.0.0 \
    GATEWAY_LOG_FORMAT=json
USER 10001
WORKDIR /tmp
EXPOSE 8080 8081 8082
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s \
  CMD ["python", "-c", "import os, urllib.request as r; r.urlopen('http://127.0.0.1:' + os.environ.get('HEALTH_PORT', '8081') + '/readyz', timeout=2)"]
ENTRYPOINT ["dragoman"]
CMD ["serve"]
