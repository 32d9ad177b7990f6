FROM base:debian AS deps
RUN apt-get install -y gcc make

FROM deps AS zlib
ADD zlib.tar.gz /src/
WORKDIR /src/zlib
RUN ./configure --prefix=/opt && make -j2 && make install

FROM deps AS openssl
ADD openssl.tar.gz /src/
WORKDIR /src/openssl
COPY --from=zlib /opt /opt
RUN ./Configure --prefix=/opt zlib && make -j2 && make install_sw

FROM deps AS gawk
ADD gawk.tar.xz /src/
RUN cd /src/gawk && ./configure && make && make install DESTDIR=/out

FROM base:debian
COPY --from=openssl /opt /opt
COPY --from=gawk /out /
ENV PATH=/opt/bin:$PATH
