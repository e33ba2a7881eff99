"""The module of cloud-init. It is here because it is the one of the first stage that installs packages.

What installs them is answered by layerset_packages; cloud-init finds this before the module in cloudinit.config.
"""

import layerset_packages  # noqa: F401 # it answers by being there
from cloudinit.config import cc_rsyslog as original

meta = original.meta
handle = original.handle
