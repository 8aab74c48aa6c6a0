# The image: one static binary, its configuration and root certificates; no shell, no package manager.
# docker build -t maskline .          The bases are arguments: any Rust image of Debian 12 builds it,
# and RUNTIME_BASE=debian:bookworm-slim gives an image with a shell for looking around.
ARG BUILD_BASE=rust:1.95-bookworm
ARG RUNTIME_BASE=scratch

FROM ${BUILD_BASE} AS build
WORKDIR /src
COPY . .
# The C library goes into the binary: getaddrinfo looks names up by its own files and dns code, and trunks
# are looked up by a resolver of the binary's own. The profile tells the compiler what calls run through.
RUN set -eu; \
    target=$(rustc -vV | sed -n 's/^host: //p'); \
    RUSTFLAGS="-Ctarget-feature=+crt-static -Cprofile-use=/src/pgo/maskline.profdata" \
        cargo build --locked --release --bin maskline --target "$target"; \
    mkdir -p /image/etc/ssl/certs /image/etc/maskline /image/var/lib/maskline /image/tmp; \
    cp "target/$target/release/maskline" /image/maskline; \
    cp config/maskline.toml /image/etc/maskline/maskline.toml; \
    cp LICENSE /image/LICENSE; \
    cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/; \
    printf 'maskline:x:10001:10001::/var/lib/maskline:/nologin\n' > /image/etc/passwd; \
    printf 'maskline:x:10001:\n' > /image/etc/group; \
    chmod 0700 /image/var/lib/maskline; chmod 1777 /image/tmp; \
    chown -R 10001:10001 /image/var/lib/maskline

FROM ${RUNTIME_BASE}
COPY --from=build /image/ /
USER 10001:10001
VOLUME /var/lib/maskline
ENV MASKLINE_CONFIG=/etc/maskline/maskline.toml
ENV MASKLINE__KEYS__ROOT_FILE=/var/lib/maskline/root.key
# SIP; control API; admin. RTP uses 20000-29999/udp: run with host networking, one proxy process a
# published port would take minutes to start.
EXPOSE 5060/udp 8080/tcp 9090/tcp
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s CMD ["/maskline", "health"]
# SIGTERM drains: calls go on, new ones are refused.
STOPSIGNAL SIGTERM
ENTRYPOINT ["/maskline"]
CMD ["serve"]
