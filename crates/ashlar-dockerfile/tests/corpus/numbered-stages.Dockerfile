FROM debian:12
RUN make
FROM debian:12
COPY --from=0 /a /a
FROM debian:12
COPY --from=1 /a /b
COPY --from=0 ["/c", "/d e", "/f/"]
