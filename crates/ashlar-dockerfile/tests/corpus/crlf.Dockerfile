FROM debian:12
RUN apt-get update \
  && true
COPY a b
CMD ["a", "b"]
