FROM base:debian AS build
COPY --from=module:zlib / /opt/zlib/
RUN --mount=from=module:openssl,target=/opt/openssl make
FROM module:runtime
COPY --from=build /usr/local/ /usr/local/
