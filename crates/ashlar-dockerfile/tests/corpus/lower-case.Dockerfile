from debian:12 as builder
arg version=1.0
label version=$version
run make install
from scratch
copy --from=builder /usr/local /usr/local
entrypoint ["/usr/local/bin/x"]
