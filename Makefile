# The few commands a person types. `make demo` and `make test` set up everything they need.

SHELL := /bin/bash
CARGO ?= cargo
ASHLAR := target/release/ashlar

.PHONY: help build demo test check bench install-needs install-test-needs clean

help:
	@echo 'make demo    build the program and the minimal target of examples/firmware'
	@echo 'make test    run all tests'
	@echo 'make check   formatting, clippy, documentation'
	@echo 'make bench   measure, side by side with the peers; the table of docs/performance.md'
	@echo 'make build   the program, in release mode: $(ASHLAR)'

# What building and running the program takes.
install-needs:
	@scripts/install bubblewrap mmdebstrap apt dpkg-dev patch git gcc libc6-dev make util-linux uidmap ca-certificates

# What the tests take besides.
install-test-needs: install-needs
	@scripts/install busybox-static diffutils e2fsprogs python3 quilt tar zstd xz-utils bzip2 unzip zip \
		buildah runc skopeo attr libcap2-bin
	@CARGO=$(CARGO) scripts/servers
	@scripts/archives

build: install-needs
	$(CARGO) build --release --locked --quiet --package ashlar-cli

demo: build
	$(ASHLAR) -C examples/firmware build minimal

test: install-test-needs
	scripts/test

check:
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --no-deps --locked --document-private-items

bench: build
	@scripts/install python3 busybox-static time make tar util-linux findutils ninja-build casync ostree rsync zstd curl skopeo ccache bzip2 diffutils buildah runc
	@CARGO=$(CARGO) scripts/servers
	bench/run

clean:
	$(CARGO) clean
