# syntax=docker/dockerfile:1
FROM debian:12
ARG FOO=bar
RUN <<EOF
apt-get update
apt-get upgrade -y
apt-get install -y \
  ca-certificates
EOF
RUN <<-'SCRIPT'
	#!/usr/bin/env bash
	set -euo pipefail
	for x in a b; do
		echo "$x" # kept
	done
	SCRIPT
RUN python3 <<EOF > /hello
print("Hello\nWorld")
EOF
COPY <<robots.txt <<humans.txt /usr/share/nginx/html/
User-agent: *
robots.txt
(humans content of ${FOO})
humans.txt
COPY <<"EOT" /run.sh
#!/bin/sh
echo "$@"
EOT
RUN cat <<A <<B
1
A
2
B
