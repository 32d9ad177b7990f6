FROM debian:12
WORKDIR /build
COPY . .
RUN --mount=type=checkpoint,target=/build/obj \
    ./configure && make -j"$(nproc)" && make install
