//! OpenLDAP's server: its installation makes a password, and settings that hold it.

use super::FirstBootWork;
use crate::builder::{BuildError, BuildSink};
use crate::path::RelPath;
use crate::tree::{Inode, Tree};

const SETTINGS: &str = "etc/ldap/slapd.d";
/// The suffix of an installation that nobody answered a question of.
const SUFFIX: &[u8] = b"olcSuffix: dc=nodomain\n";
/// What slapd.postinst does on a first installation.
const RUN: &str = "umask 077; init=/run/layerset-slapd.ldif; cd / && rm -rf /etc/ldap/slapd.d && \
    install -d -o openldap -g openldap -m 0755 /etc/ldap/slapd.d && \
    password=$(slappasswd -g | slappasswd -T /dev/stdin) && \
    sed -e 's/@SUFFIX@/dc=nodomain/' -e \"s|@PASSWORD@|$password|\" /usr/share/slapd/slapd.init.ldif >$init && \
    slapadd -F /etc/ldap/slapd.d -b cn=config -l $init && \
    printf 'dn: dc=nodomain\\nobjectClass: top\\nobjectClass: dcObject\\nobjectClass: organization\\no: nodomain\\n\
dc: nodomain\\n' >$init && { [ -e /var/lib/ldap/data.mdb ] || slapadd -F /etc/ldap/slapd.d -b dc=nodomain -l $init; } && \
    chown -R openldap:openldap /etc/ldap/slapd.d /var/lib/ldap || { rm -rf /etc/ldap/slapd.d; exit 1; }; rm -f $init";

/// Returns the work that makes slapd's settings, where a layer's are those that the package makes
/// by itself. With another suffix they are somebody's own.
pub(in crate::builder) fn slapd(
    lower: &Tree,
    after: &Tree,
    sink: &BuildSink<'_>,
) -> Result<Option<FirstBootWork>, BuildError> {
    let path = format!("{SETTINGS}/cn=config.ldif");
    let database = format!("{SETTINGS}/cn=config/olcDatabase={{1}}mdb.ldif");
    let object = after.get(database.as_bytes()).and_then(Inode::object);
    let (Some(object), None) = (object, lower.get(path.as_bytes())) else {
        return Ok(None);
    };
    let settings = sink.read(&object)?;
    if !settings
        .windows(SUFFIX.len())
        .any(|window| window == SUFFIX)
    {
        return Ok(None);
    }
    let path = RelPath::from_text(&path).map_err(|source| BuildError::Path { source })?;
    let inside = after
        .below(SETTINGS.as_bytes())
        .map(|(path, _)| path.clone());
    let also = inside.filter(|other| *other != path && other.as_bytes() != SETTINGS.as_bytes());
    Ok(Some(FirstBootWork {
        also: also.collect(),
        path,
        run: RUN.to_owned(),
    }))
}
