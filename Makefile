# `make demo` shows what layerset does; `make test` is all that CI runs.

CARGO  ?= cargo
PREFIX ?= /usr/local
# Where cargo puts what it makes; set in the environment, cargo and the scripts see it too.
TARGET  = $(or $(CARGO_TARGET_DIR),target)

# Of an installation; UNITDIR lies where systemd looks.
BINDIR    = $(PREFIX)/bin
MANDIR    = $(PREFIX)/share/man
SCHEMADIR = $(PREFIX)/share/layerset
UNITDIR  ?= $(PREFIX)/lib/systemd/system
UNITS     = $(notdir $(wildcard units/*.service units/*.timer))
CATALOGDIR ?= $(PREFIX)/lib/systemd/catalog

.PHONY: machine-layer build demo demo-machine test boot fuzz bench oracle swap mutate witness secrets deps install uninstall deb clean

build: deps
	$(CARGO) build --release --locked

# Puts this program into the layer of machines that update themselves.
machine-layer: build
	install -D --strip target/release/layerset layers/layerset/files/usr/bin/layerset
	install -D -m 0644 -t layers/layerset/files/usr/lib/systemd/system units/layerset-agent.*
	install -D -m 0644 -t layers/layerset/files/usr/lib/systemd/catalog units/layerset.catalog

# Needs root: it mounts deployments and runs them in namespaces of their own.
demo: build
	demo/run.sh

# Needs root, QEMU, and the network the first time: an emulated machine updates itself, and comes back by itself.
demo-machine: build
	demo/machine.sh

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

# Not `install: build`: under sudo that would build, and own target/, as root. The installed program
# has no symbols, which are five sixths of it; $(TARGET)/release keeps them.
install:
	install -D -s -m 0755 "$(TARGET)/release/layerset" "$(DESTDIR)$(BINDIR)/layerset"
	"$(DESTDIR)$(BINDIR)/layerset" --quiet man "$(DESTDIR)$(MANDIR)"
	install -d "$(DESTDIR)$(PREFIX)/share/bash-completion/completions" \
	    "$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions" \
	    "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d" \
	    "$(DESTDIR)$(SCHEMADIR)" "$(DESTDIR)$(UNITDIR)"
	set -e; tool="$(DESTDIR)$(BINDIR)/layerset"; share="$(DESTDIR)$(PREFIX)/share"; \
	"$$tool" completions bash >"$$share/bash-completion/completions/layerset"; \
	"$$tool" completions zsh >"$$share/zsh/vendor-completions/_layerset"; \
	"$$tool" completions fish >"$$share/fish/vendor_completions.d/layerset.fish"; \
	for file in layer recipe trust agent; do \
	    "$$tool" schema $$file >"$(DESTDIR)$(SCHEMADIR)/$$file.schema.json"; \
	done; \
	install -D -m 0644 units/layerset.catalog "$(DESTDIR)$(CATALOGDIR)/layerset.catalog"
	install -D -m 0644 -t "$(DESTDIR)$(SCHEMADIR)/monitoring" doc/monitoring/*
	for unit in $(UNITS); do \
	    sed 's|/usr/bin/|$(BINDIR)/|' "units/$$unit" >"$(DESTDIR)$(UNITDIR)/$$unit"; \
	done

# Takes away what `make install` with the same PREFIX and DESTDIR put there.
uninstall:
	rm -f "$(DESTDIR)$(BINDIR)/layerset" \
	    "$(DESTDIR)$(PREFIX)/share/bash-completion/completions/layerset" \
	    "$(DESTDIR)$(PREFIX)/share/zsh/vendor-completions/_layerset" \
	    "$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/layerset.fish"
	rm -f "$(DESTDIR)$(MANDIR)"/man[157]/layerset.[157] "$(DESTDIR)$(MANDIR)"/man[157]/layerset-*.[157]
	rm -f $(foreach unit,$(UNITS),"$(DESTDIR)$(UNITDIR)/$(unit)")
	rm -f "$(DESTDIR)$(CATALOGDIR)/layerset.catalog"
	rm -rf "$(DESTDIR)$(SCHEMADIR)"

# $(TARGET)/deb/layerset_VERSION-1_ARCH.deb of what `make` built. `scripts/deb.sh --try SUITE` tries it.
deb:
	scripts/deb.sh

clean:
	$(CARGO) clean
