# `make demo` shows what layerset does; `make test` is all that CI runs.

CARGO  ?= cargo
PREFIX ?= /usr/local

.PHONY: build demo test fuzz bench oracle swap mutate witness deps install clean

build: deps
	$(CARGO) build --release --locked

# Needs root: it mounts deployments and runs them in namespaces of their own.
demo: build
	demo/run.sh

test: deps
	CARGO="$(CARGO)" scripts/test.sh

# FUZZ_SECONDS=600 for each target; fuzz/run.sh says what else can be set.
fuzz:
	@scripts/deps.sh fuzz
	fuzz/run.sh

# Needs root, 16 GB of room, and the network the first time.
bench: build
	@scripts/deps.sh bench
	benches/run.sh
	benches/transfer.sh

# Needs root, 16 GB of room, and the network the first time.
oracle: build
	fixtures/corpus/oracle.sh

# Needs root, 16 GB of room, and the network the first time.
swap: build
	fixtures/corpus/swap.sh

# Needs root, 16 GB of room, and the network the first time.
mutate: build
	$(CARGO) build --release --locked --example mutations
	fixtures/corpus/mutate.sh

# Needs root, 16 GB of room, and the network the first time.
witness: build
	fixtures/corpus/witness.sh

# Installs what is missing as root, else says what is; does nothing when nothing is.
deps:
	@scripts/deps.sh

# Not `install: build`: under sudo that would build, and own target/, as root.
install:
	install -D -m 0755 target/release/layerset "$(DESTDIR)$(PREFIX)/bin/layerset"

clean:
	$(CARGO) clean
