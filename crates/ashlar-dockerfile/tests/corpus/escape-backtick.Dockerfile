# escape=`
FROM debian:12
RUN apt-get update && `
    apt-get install -y `
      curl
ENV A=b\c
COPY a.txt /b/
WORKDIR /x
