# syntax=docker/dockerfile:1-labs
FROM scratch
COPY --parents ./x/a.txt ./y/a.txt /parents/
COPY --parents /home/./user/*/src/** /src/
COPY --exclude=*.txt --exclude=!README.txt --exclude=**/node_modules . /app/
COPY --link=true --parents */Cargo.toml Cargo.lock ./
