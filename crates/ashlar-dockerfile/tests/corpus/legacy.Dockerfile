FROM ubuntu:14.04
MAINTAINER Some Body <some.body@example.test>
ENV DEBIAN_FRONTEND noninteractive
ENV JAVA_HOME   /usr/lib/jvm/java
LABEL description This text illustrates \
that label-values can span multiple lines.
RUN apt-get update
RUN apt-get install -y openjdk-7-jdk
VOLUME /data /log
ENTRYPOINT exec java -jar /app.jar
