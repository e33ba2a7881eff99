# `make demo` shows what layerset does; `make test` is all that CI runs.

CARGO  ?= cargo
PREFIX ?= /usr/local

.PHONY: build demo test boot fuzz bench oracle swap mutate witness secrets deps install clean

build: deps
	$(CARGO) build --release --locked

# Needs root: it mounts deployments and runs them in namespaces of their own.
demo: build
	demo/run.sh

test: deps
	CARGO="$(CARGO)" scripts/test.sh

# All images in emulated machines; `make test` boots two of them. Needs root, and the network the first time.
boot: deps
	scripts/test.sh --run $(CARGO) test --locked --test it boot:: -- --include-ignored --test-threads=2

# FUZZ_SECONDS=600 for each target; fuzz/run.sh says what else can be set.
fuzz:
	@scripts/deps.sh fuzz
	fuzz/run.sh

# Needs root, 16 GB of room, and the network the first time.
bench: build
	@scripts/deps.sh bench
	benches/run.sh
	benches/transfer.sh
	benches/disk.sh

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

# Needs the network, and 6 GB of room.
secrets: deps
	$(CARGO) build --release --locked --example secrets
	fixtures/corpus/secrets.sh

# Installs what is missing as root, else says what is; does nothing when nothing is.
deps:
	@scripts/deps.sh

# Not `install: build`: under sudo that would build, and own target/, as root.
install:
	install -D -m 0755 target/release/layerset "$(DESTDIR)$(PREFIX)/bin/layerset"

clean:
	$(CARGO) clean
