//! Where cloud-init looks for its data, as the profiles want it.

use super::profiles::Profile;
use crate::tree::{Inode, Tree};

/// Where cloud-init reads settings.
const DIRECTORY: &str = "etc/cloud/cloud.cfg.d";
/// The file that says it; it comes behind those of the layers.
const FILE: &str = "etc/cloud/cloud.cfg.d/96_layerset_profile.cfg";
/// The datasource of machines that have none; cloud-init stops looking there.
const LAST: &str = "None";

/// Returns the path and the text of a file that names the datasources of these profiles; none where
/// there is no profile, or no cloud-init.
pub(super) fn settings(tree: &Tree, profiles: &[Profile]) -> Option<(&'static str, String)> {
    if profiles.is_empty() || !tree.get(DIRECTORY.as_bytes()).is_some_and(Inode::is_dir) {
        return None;
    }
    let mut names: Vec<&str> = Vec::new();
    for name in profiles
        .iter()
        .flat_map(|profile| profile.wants().datasources)
    {
        if *name != LAST && !names.contains(name) {
            names.push(name);
        }
    }
    names.push(LAST);
    // cloud-init's ds-identify reads one line only.
    let list = names.join(", ");
    Some((
        FILE,
        format!("# The clouds that the disk was made for.\ndatasource_list: [{list}]\n"),
    ))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::path::RelPath;

    #[test]
    fn cloud_init_looks_where_the_profiles_say() {
        let mut tree = Tree::new();
        let profiles = [Profile::OpenStack, Profile::Egi];
        assert_eq!(settings(&tree, &profiles), None);
        for path in ["", "etc", "etc/cloud", DIRECTORY] {
            tree.insert(RelPath::from_text(path).unwrap(), Inode::directory(0o755));
        }
        assert_eq!(settings(&tree, &[]), None);
        let (path, text) = settings(&tree, &profiles).unwrap();
        assert_eq!(path, "etc/cloud/cloud.cfg.d/96_layerset_profile.cfg");
        assert_eq!(
            text.lines().last().unwrap(),
            "datasource_list: [ConfigDrive, OpenStack, OpenNebula, Ec2, None]"
        );
    }
}
