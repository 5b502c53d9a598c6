# One image for all commands of Isthmus: up (the default), serve, bridge, import, reindex, check, sweep, health.
#
#   docker build -t isthmus .
#   docker run -p 127.0.0.1:8080:8080 -p 127.0.0.1:11112:11112 -v isthmus:/data -e ISTHMUS_AUTH='none!' isthmus
#
# Any Debian with python3.13 and its venv module will do as a base; docs/image.md says what it is chosen for.
ARG BASE=docker.io/library/python:3.13-slim-trixie

FROM ${BASE} AS wheels
WORKDIR /build
RUN ["python3.13", "-m", "venv", "/build/tools"]
# Wheels alone: nothing is compiled. Each has one of the digests in the lock file.
COPY requirements.lock ./
RUN ["tools/bin/pip", "download", "--quiet", "--no-cache-dir", "--only-binary=:all:", \
     "--require-hashes", "--requirement=requirements.lock", "--dest=wheels"]

FROM wheels AS dependencies
COPY pyproject.toml ./
SHELL ["/bin/bash", "-euo", "pipefail", "-c"]
# What the programs need of those wheels, without tests and without AWS services other than the object store and
# those that give credentials for it.
RUN python3.13 -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["dependencies"], sep="\n")' \
        > runtime.txt \
    && python3.13 -m venv --without-pip /opt/isthmus \
    && tools/bin/pip --python /opt/isthmus/bin/python install --quiet --no-compile \
        --no-index --find-links=wheels --requirement=runtime.txt \
    && find /opt/isthmus -type d -name tests -path '*/numpy/*' -prune -exec rm -r {} + \
    && find /opt/isthmus -mindepth 1 -type d -path '*/botocore/data/*' -prune \
        ! -name s3 ! -name sts ! -name sso ! -name sso-oidc ! -name signin -exec rm -r {} + \
    && find /opt/isthmus/bin -type f -delete \
    && /opt/isthmus/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/isthmus/lib

FROM dependencies AS program
COPY LICENSE README.md ./
COPY service service
COPY bridge bridge
COPY .ci/inventory.py ./
# A folder of its own, which is laid over the environment: it is all that differs from one version to the next.
RUN tools/bin/pip wheel --quiet --no-deps --no-index --find-links=wheels --wheel-dir=dist . \
    && tools/bin/pip --python /opt/isthmus/bin/python install --quiet --no-compile --no-deps --no-index \
        --prefix=/program dist/*.whl \
    && /opt/isthmus/bin/python -m compileall -q --invalidation-mode unchecked-hash -s /program -p /opt/isthmus /program/lib \
    && cp --recursive /program/. /opt/isthmus \
    && /opt/isthmus/bin/python inventory.py /inventory \
    && install --mode=644 LICENSE /inventory/

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="Isthmus" \
      org.opencontainers.image.description="A DICOMweb server for medical images, with a bridge to the DIMSE world" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"
# Group 0 may write, so that any user id will do that is a member of it.
RUN ["install", "--directory", "--owner=10001", "--group=0", "--mode=0770", "/data"]
COPY --from=dependencies /opt/isthmus /opt/isthmus
COPY --from=program /program /opt/isthmus
COPY --from=program /inventory /usr/share/isthmus
# In a container every address is the container's own; what is published of it, the one who starts it decides.
ENV PATH=/opt/isthmus/bin:/usr/local/bin:/usr/bin:/bin \
    HOME=/tmp \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONSAFEPATH=1 \
    PYTHONUNBUFFERED=1 \
    ISTHMUS_HOST=0.0.0.0 \
    ISTHMUS_DIMSE_HOST=0.0.0.0 \
    ISTHMUS_STORE=file:///data/objects \
    ISTHMUS_INDEX=sqlite:///data/index.db \
    ISTHMUS_BRIDGE_STATE=/data/bridge
USER 10001:0
WORKDIR /
VOLUME ["/data"]
EXPOSE 8080 11112
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s CMD ["isthmus", "health"]
ENTRYPOINT ["isthmus"]
CMD ["up"]
