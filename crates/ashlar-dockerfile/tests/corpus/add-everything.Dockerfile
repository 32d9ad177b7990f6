FROM debian:12
ARG KERNEL=6.6
ADD rootfs.tar.xz /
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.test/linux-${KERNEL}.tar.xz /usr/src/
ADD --keep-git-dir=true https://example.test/repo.git#v1.0:sub /repo
ADD --chown=55:mygroup files* /somedir/
ADD --chown=bin files* /somedir/
ADD --unpack=false ["a file.tar", "/with space/"]
ADD hom* /mydir/
ADD hom?.txt /mydir/
ADD arr[[]0].txt /mydir/
