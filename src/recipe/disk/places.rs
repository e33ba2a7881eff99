//! Where the parts of a description stand in the text of a recipe.

use std::collections::BTreeMap;
use std::ops::Range;

use super::super::error::{RecipeError, SourceFile};
use super::super::reader::Value;
use crate::disk::{DiskFault, Node};

/// The places of a description; a node is `None` where the layout adds it, and no text says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Places {
    source: SourceFile,
    disk: Spot,
    pub(super) partitions: Vec<Option<Spot>>,
    pub(super) physical_volumes: Vec<Option<Spot>>,
    pub(super) groups: Vec<Spot>,
    pub(super) volumes: Vec<Spot>,
}

/// The places of a node and of its fields, in bytes of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spot {
    whole: Range<usize>,
    /// By dotted names such as `filesystem.label`.
    fields: BTreeMap<String, Range<usize>>,
}

impl Spot {
    pub(super) fn of(value: &Value<'_>) -> Self {
        let mut fields = BTreeMap::new();
        gather(value, "", &mut fields);
        Self {
            whole: value.span(),
            fields,
        }
    }

    /// Returns the innermost part of `field` that the text has.
    fn find(&self, field: &str) -> Range<usize> {
        let mut at = field;
        loop {
            if let Some(place) = self.fields.get(at) {
                return place.clone();
            }
            // A volume may have its size in extents.
            if let ("size", Some(place)) = (at, self.fields.get("extents")) {
                return place.clone();
            }
            match at.rsplit_once('.') {
                Some((outer, _)) => at = outer,
                None => return self.whole.clone(),
            }
        }
    }
}

fn gather(value: &Value<'_>, outer: &str, fields: &mut BTreeMap<String, Range<usize>>) {
    let Ok(table) = value.any_table() else {
        return;
    };
    for inner in table.entries() {
        let field = match outer {
            "" => inner.name().to_owned(),
            outer => format!("{outer}.{}", inner.name()),
        };
        fields.insert(field.clone(), inner.span());
        gather(&inner, &field, fields);
    }
}

impl Places {
    /// Takes the table `[disk]`; its nodes come later.
    pub(super) fn new(disk: &Value<'_>) -> Self {
        Self {
            source: disk.source().clone(),
            disk: Spot::of(disk),
            partitions: Vec::new(),
            physical_volumes: Vec::new(),
            groups: Vec::new(),
            volumes: Vec::new(),
        }
    }

    /// Makes the error that points at the text of a fault.
    pub(super) fn point(&self, fault: &DiskFault) -> RecipeError {
        let mut places = std::iter::once(fault.place).chain(fault.other);
        let found = places.find_map(|place| Some(self.of(place.node)?.find(place.field)));
        let span = found.unwrap_or_else(|| self.disk.find(fault.place.field));
        self.source
            .fault_with(span, fault.message.clone(), fault.help.clone())
    }

    fn of(&self, node: Node) -> Option<&Spot> {
        match node {
            Node::Disk => Some(&self.disk),
            Node::Partition(index) => self.partitions.get(index)?.as_ref(),
            Node::PhysicalVolume(index) => self.physical_volumes.get(index)?.as_ref(),
            Node::Group(index) => self.groups.get(index),
            Node::Volume(index) => self.volumes.get(index),
        }
    }
}
