FROM alpine:3.20
RUN --network=none true
RUN --network=default apk add curl
RUN --network=host --security=sandbox curl localhost
