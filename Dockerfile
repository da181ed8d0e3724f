# The binary comes ready-built, as $TARGETPLATFORM/leader-election-sidecar in
# the build context, and rootfs.tar holds a /tmp that every user may write: `make
# image` and goreleaser both lay it out so.
FROM scratch
ARG TARGETPLATFORM
ARG VERSION=dev
LABEL org.opencontainers.image.title="leader-elector" \
      org.opencontainers.image.description="Tells the app beside it whether its pod leads" \
      org.opencontainers.image.source="https://github.com/leader-elector/leader-elector" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"
ADD rootfs.tar /
COPY $TARGETPLATFORM/leader-election-sidecar /leader-election-sidecar
# At its start Go takes memory for each processor of the node, 1 MB for 64. The sidecar needs one.
ENV GOMAXPROCS=1
# A number, so that the kubelet can check runAsNonRoot by itself.
USER 65532:65532
ENTRYPOINT ["/leader-election-sidecar"]
