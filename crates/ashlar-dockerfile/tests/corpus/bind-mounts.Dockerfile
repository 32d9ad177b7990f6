FROM debian:12 AS tools
RUN make tools
FROM debian:12
WORKDIR /work
RUN --mount=type=bind,from=tools,source=/usr/local/bin,target=/tools,readonly \
    --mount=target=/work,rw \
    --mount=type=bind,src=conf/x.conf,dst=etc/x.conf \
    /tools/run
