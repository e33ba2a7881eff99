"""What cloud-init says of packages on a machine that is made of layers.

Every module that wants packages of its own asks the class of distributions for them, so that the answer is there. All
modules of a stage are imported before the first one runs: one of each stage brings this one.
"""

import logging

from cloudinit import distros, subp

LOG = logging.getLogger(__name__)

POINTER = (
    "this machine is made of layers, and its packages come with its image. "
    "To add one, name it under [apt] in a layer's layer.toml, run 'layerset lock' and 'layerset build', "
    "and bring the machine to the new image: layerset update"
)


def is_made_of_layers():
    """Says whether the root is a deployment; on a plain machine, apt does what it is asked for."""
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as mounts:
        fields = [line.split() for line in mounts]
    return any(place == "/" and source.startswith("layerset:") for source, place, *_ in fields)


def missing(asked):
    """Returns what the image lacks of the value of `packages:`, as apt-get would be given it."""
    command = ["dpkg-query", "--show", "--showformat", "${db:Status-Status} ${Package} ${Version}\n"]
    lines = [line.split() for line in subp.subp(command).stdout.splitlines()]
    versions = {fields[1]: fields[2] for fields in lines if fields[0] == "installed" and len(fields) == 3}

    def is_there(word):
        name, _, version = word.partition("=")
        return name in versions and version in ("", versions[name])

    return [word for word in words(asked) if not is_there(word)]


def words(asked):
    """Lists packages: each is a name, a name and a version, or a package manager and such a list."""
    found = []
    for entry in asked:
        if isinstance(entry, dict):
            for packages in entry.values():
                found += words(packages)
        elif isinstance(entry, (list, tuple)):
            found.append("=".join(str(part) for part in entry))
        else:
            found.append(str(entry))
    return found


class Original:
    """What the class of distributions does elsewhere."""

    install_packages = distros.Distro.install_packages
    update_package_sources = distros.Distro.update_package_sources


def install_packages(distro, pkglist):
    """Fails with the way to get the packages, and succeeds where the image has them."""
    if not is_made_of_layers():
        Original.install_packages(distro, pkglist)
        return
    absent = missing(pkglist)
    if absent:
        message = f"cannot install {' '.join(absent)}: {POINTER}"
        # Some modules catch what is raised, and say something else.
        LOG.warning(message)
        raise distros.PackageInstallerError(message)


def update_package_sources(distro, *, force=False):
    """Does nothing: whoever refreshes lists of packages wants to install some."""
    if not is_made_of_layers():
        Original.update_package_sources(distro, force=force)


distros.Distro.install_packages = install_packages
distros.Distro.update_package_sources = update_package_sources
