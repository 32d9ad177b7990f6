ARG CODE_VERSION=latest
ARG REPO=registry.example.test:5000/team
FROM ${REPO:+${REPO}/}base:${CODE_VERSION} AS one
ARG CODE_VERSION
ARG settings
ARG URL=https://example.test/a.tar.gz
ENV abc=hello
ENV abc=bye def=$abc
ENV ghi=$abc FILE=${URL##*/} DIR="${URL%/*}" NAME="${URL/.tar.gz/}"
ENV MY_NAME="John Doe" MY_DOG=Rex\ The\ Dog \
    MY_CAT=fluffy
RUN echo $CODE_VERSION > image_version
USER ${user:-some_user}
ENV CONT_IMG_VER=${CONT_IMG_VER:-v1.0.0}
WORKDIR /srv/${CODE_VERSION//./_}
COPY ${settings:-config/} ./
EXPOSE ${PORT:-8080}
