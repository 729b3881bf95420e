# The bridge as a container: built in one stage, run in another that holds the binary alone.
# docs/operations.md says how to run it.
ARG RUST=rust:1.95-slim-bookworm
ARG DEBIAN=debian:bookworm-slim

FROM ${RUST} AS build
# librdkafka and OpenSSL are built from source; the base image brings no more than gcc.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates g++ make perl \
 && rm -rf /var/lib/apt/lists/*
# Function names stay for backtraces, the rest of the debug information goes.
ENV CARGO_PROFILE_RELEASE_DEBUG=none CARGO_PROFILE_RELEASE_STRIP=debuginfo
WORKDIR /build
# All dependencies, behind an empty program: this layer lasts until Cargo.toml or Cargo.lock changes.
COPY Cargo.toml Cargo.lock ./
RUN mkdir src benches \
 && echo 'fn main() {}' >src/main.rs \
 && touch src/lib.rs benches/cores.rs benches/log.rs \
 && cargo build --release --locked --no-default-features
COPY src src
# The status page links to them.
COPY docs docs
# Cargo goes by time, and what was copied can be older than the empty program.
RUN touch src/main.rs src/lib.rs \
 && cargo build --release --locked --no-default-features

FROM ${DEBIAN}
RUN groupadd --system --gid 10001 bridge \
 && useradd --system --uid 10001 --gid bridge --no-create-home --shell /usr/sbin/nologin bridge \
 && install -d -o bridge -g bridge /var/lib/mqtt-kafka-bridge \
 && install -d /etc/mqtt-kafka-bridge \
 && echo '# Empty: mount a file here, or give every key in the environment.' >/etc/mqtt-kafka-bridge/config.toml
# The public certificate authorities, for TLS to MQTT and to Kafka without a file of one's own.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /build/target/release/mqtt-kafka-bridge /usr/local/bin/

# By number, so that Kubernetes can see that it is not root.
USER 10001:10001
# Dead letters and the state file are written here: dead_letter.file and data_dir are relative to it.
WORKDIR /var/lib/mqtt-kafka-bridge
VOLUME /var/lib/mqtt-kafka-bridge
# Else nothing outside the container could ask for /readyz and /metrics.
ENV BRIDGE_HTTP__LISTEN=0.0.0.0:8080
EXPOSE 8080
# SIGTERM drains. The bridge handles its signals itself, and waits for the programs that it may start
# (mqtt.password_command, an AWS profile's credential_process), so that it can be process 1 without an init. What such
# a program leaves behind, nobody waits for: then run it with an init (docker run --init).
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=8s --start-period=30s --retries=3 \
    CMD ["mqtt-kafka-bridge", "healthcheck", "--config", "/etc/mqtt-kafka-bridge/config.toml"]
ENTRYPOINT ["mqtt-kafka-bridge"]
CMD ["run", "--config", "/etc/mqtt-kafka-bridge/config.toml"]

ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="mqtt-kafka-bridge" \
      org.opencontainers.image.description="Forwards messages from MQTT to Kafka: acknowledged end to end, in order, supervised" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
