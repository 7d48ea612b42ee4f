# The server as an image.
#
#   docker build -t tidings .
#   docker run -p 9000:9000 -v tidings:/data tidings
#
# Arguments are those of the program: `docker run tidings server /mnt/d{1...4}`, also with `minio` in front.

# The same Debian as below: a binary runs with the C library it was linked against, or a newer one.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --package tidings

FROM debian:12-slim
RUN useradd --uid 1000 --user-group --create-home tidings \
 && mkdir /data && chown tidings:tidings /data
COPY --from=build /src/target/release/tidings /usr/bin/tidings
COPY LICENSE /usr/share/doc/tidings/LICENSE
RUN ln -s tidings /usr/bin/minio
# The first three: where start files written for MinIO's image put the root keys; a file that is not there is
# none. The last: flags alone (`docker run tidings --address :9001`) serve /data as well.
ENV MINIO_ROOT_USER_FILE=access_key \
    MINIO_ROOT_PASSWORD_FILE=secret_key \
    MINIO_CONFIG_ENV_FILE=config.env \
    MINIO_VOLUMES=/data
USER 1000
VOLUME /data
EXPOSE 9000 9001
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s CMD ["tidings", "health"]
ENTRYPOINT ["tidings"]
CMD ["server", "/data"]
