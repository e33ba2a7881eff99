#!/bin/sh
# Looks whether the program is there and runs on this base.
set -eu

[ -x /usr/bin/layerset ] || {
    echo "setup.sh: there is no /usr/bin/layerset: 'make machine-layer' puts it into this layer" >&2
    exit 1
}
layerset --version
