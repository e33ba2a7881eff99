//! What is wrong with a description, and which part of it.

/// One fault of a description. Whoever read the description knows where the part stands in its text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DiskFault {
    /// The part that is wrong.
    pub place: Place,
    /// The part that it contradicts: where to point when the text does not have the first.
    pub other: Option<Place>,
    /// What is wrong.
    pub message: String,
    /// What to write instead, where that is known.
    pub help: Option<String>,
}

/// A part of a description: a node and one of its fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The node.
    pub node: Node,
    /// The field, dotted as in a recipe (`filesystem.label`); empty for the whole node.
    pub field: &'static str,
}

/// A node of a description, by its index among its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// The first disk, or what they are together.
    Disk,
    /// A partition of the first disk.
    Partition(usize),
    /// A physical volume.
    PhysicalVolume(usize),
    /// A volume group.
    Group(usize),
    /// A logical volume.
    Volume(usize),
}

impl Node {
    /// Names a field of this node.
    pub fn at(self, field: &'static str) -> Place {
        Place { node: self, field }
    }
}

impl Place {
    /// Makes the fault that is here.
    pub fn fault(self, message: impl Into<String>, help: impl Into<String>) -> DiskFault {
        let help = help.into();
        DiskFault {
            place: self,
            other: None,
            message: message.into(),
            help: (!help.is_empty()).then_some(help),
        }
    }
}
