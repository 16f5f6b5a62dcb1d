# One image for the supervisor, the workers, MLflow and optuna-dashboard; docker-compose.yml says who runs what.
FROM python:3.11.14-slim-bookworm

# On a GPU Triton compiles what launches its kernels with gcc.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends curl gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 sieve \
    # Named volumes take over the owner of the folder that they are mounted on.
    && install --directory --owner=sieve --group=sieve /home/sieve/runs /home/sieve/artifacts

# The password goes from the secret into a file that only this user can read and that libpq finds by itself: it is in
# no URL, no environment variable and no list of processes.
COPY --chmod=755 <<'EOF' /usr/local/bin/with-password
#!/bin/sh
set -eu
umask 077
printf '*:*:*:*:%s\n' "$(sed 's/[\\:]/\\&/g' /run/secrets/postgres_password)" > "$HOME/.pgpass"
umask 022
exec "$@"
EOF

COPY . /opt/sieve
RUN pip install --no-cache-dir '/opt/sieve[s3]'

USER sieve
WORKDIR /home/sieve
ENTRYPOINT ["with-password"]
