# The OTTER agent as one container. `otterctl machine add --via docker` builds it on the machine;
# by hand: otterctl machine context DIR && docker compose -f DIR/compose.yaml up -d --build
FROM python:3.11-slim-bookworm
# What it requires, in a layer of its own: another build of OTTER sends and installs one wheel.
COPY deps /otter/deps
RUN python3 -m venv --without-pip /opt/otter \
    && set -- /otter/deps/pip-*.whl \
    && /opt/otter/bin/python "$1/pip" install --quiet --no-index --no-cache-dir --no-deps \
       --disable-pip-version-check --root-user-action=ignore --no-warn-script-location \
       /otter/deps/*.whl
COPY own /otter/own
RUN /opt/otter/bin/python -m pip install --quiet --no-index --no-cache-dir --no-deps \
       --disable-pip-version-check --root-user-action=ignore /otter/own/*.whl \
    && /opt/otter/bin/python -c 'import otter_agent.service'
ENTRYPOINT ["/opt/otter/bin/otter-agent", "serve"]
