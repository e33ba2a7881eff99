"""Answers `packages:`, `package_update:` and `package_upgrade:` on a machine that is made of layers.

cloud-init looks for the modules of its lists by their bare names before it looks in cloudinit.config. Its own module would
fail there, because it opens dpkg's locks for writing.
"""

import logging

import layerset_packages
from cloudinit import util
from cloudinit.config import cc_package_update_upgrade_install as original

LOG = logging.getLogger(__name__)

meta = original.meta


def handle(name, cfg, cloud, args):
    """Warns of what is not done; a warning is shown by `cloud-init status --long`, and fails nothing."""
    if not layerset_packages.is_made_of_layers():
        original.handle(name, cfg, cloud, args)
        return

    def is_asked(*keys):
        return any(util.get_cfg_option_bool(cfg, key, False) for key in keys)

    refused = []
    if is_asked("apt_update", "package_update"):
        refused.append("refresh lists of packages")
    if is_asked("apt_upgrade", "package_upgrade"):
        refused.append("upgrade packages")
    missing = layerset_packages.missing(util.get_cfg_option_list(cfg, "packages", []))
    if missing:
        refused.append("install " + " ".join(missing))
    if refused:
        LOG.warning("cannot %s: %s", ", ".join(refused), layerset_packages.POINTER)
