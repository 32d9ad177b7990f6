FROM debian:12
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
RUN wget -O - https://example.test/x | wc -l > /number
RUN [[ -f /number ]] && echo yes
RUN ["/bin/sh", "-ec", "test -f \"/number\" && echo 'a \\ b'"]
SHELL ["/bin/sh", "-c"]
RUN echo $HOME
CMD exec top -b
