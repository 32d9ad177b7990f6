FROM debian:12 AS base
RUN apt-get update && apt-get install -y --no-install-recommends \
      bzip2 ca-certificates cmake curl file g++ gcc git make \
      libssl-dev pkg-config python3 xz-utils zlib1g-dev

ENV PATH=/rustroot/bin:$PATH
ENV LD_LIBRARY_PATH=/rustroot/lib64:/rustroot/lib32:/rustroot/lib
ENV PKG_CONFIG_PATH=/rustroot/lib/pkgconfig
WORKDIR /tmp
RUN mkdir /home/user

FROM base AS binutils
COPY scripts/shared.sh scripts/build-binutils.sh /tmp/
RUN ./build-binutils.sh

FROM binutils AS gcc
COPY scripts/build-gcc.sh /tmp/
RUN ./build-gcc.sh && apt-get remove -y gcc g++

FROM gcc
COPY --from=binutils /rustroot/bin/ld /rustroot/bin/
COPY scripts/sccache.sh /scripts/
RUN sh /scripts/sccache.sh
ENV HOSTS=x86_64-unknown-linux-gnu
ENV RUST_CONFIGURE_ARGS \
      --enable-full-tools \
      --enable-sanitizers \
      --set target.x86_64-unknown-linux-gnu.linker=clang \
      --set rust.jemalloc
ENV SCRIPT python3 ../x.py dist --host $HOSTS --target $HOSTS
ENV CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER=clang
