FROM --platform=$BUILDPLATFORM debian:12 AS xx
ARG BUILDPLATFORM BUILDOS BUILDARCH BUILDVARIANT
ARG TARGETPLATFORM TARGETOS TARGETARCH TARGETVARIANT
RUN echo "from $BUILDPLATFORM for $TARGETPLATFORM" > /log
RUN case "$TARGETARCH" in \
      amd64) t=x86_64 ;; \
      arm64) t=aarch64 ;; \
      *) exit 1 ;; \
    esac; make TARGET="$t"
FROM debian:12
COPY --from=xx /out /
FROM --platform=linux/arm/v7 debian:12 AS arm
RUN uname -m
