"""Answers `apt:` on a machine that is made of layers; cloud-init finds this before the module in cloudinit.config."""

import logging

import layerset_packages
from cloudinit.config import cc_apt_configure as original

LOG = logging.getLogger(__name__)

meta = original.meta

# These say how apt fetches, which clouds set by themselves; where nothing is fetched, nobody misses them.
HOW = {
    "conf",
    "ftp_proxy",
    "generate_mirrorlists",
    "http_proxy",
    "https_proxy",
    "preserve_sources_list",
    "primary",
    "proxy",
    "security",
}


def handle(name, cfg, cloud, args):
    """Warns of what is not done; a warning is shown by `cloud-init status --long`, and fails nothing."""
    if not layerset_packages.is_made_of_layers():
        original.handle(name, cfg, cloud, args)
        return
    asked = original.convert_to_v3_apt_format(cfg).get("apt") or {}
    refused = sorted(set(asked) - HOW)
    if refused:
        LOG.warning("cannot follow 'apt: %s': %s", ", ".join(refused), layerset_packages.POINTER)
