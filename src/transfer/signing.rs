//! Changing what is signed on a remote: read, verify, edit, sign, replace.

use super::{Catalogue, DocumentChanges, Signer, TransferError};
use crate::format::MAX_HEAD_BYTES;
use crate::remote::{Revision, WritableRemote};
use crate::trust::{Editor, KeyStore, PendingChange, TrustState, Verified, verify_to_edit};

/// What a publisher signs with, and where.
#[derive(Clone, Copy)]
pub struct SigningAuthority<'a> {
    /// The remote.
    pub remote: &'a dyn WritableRemote,
    /// The root that the publisher trusts: it never builds on a head of somebody else.
    pub root: &'a [u8],
    /// What it remembers of the remote.
    pub state: &'a TrustState,
    /// Its keys.
    pub keys: &'a KeyStore,
    /// When it is, in seconds since 1970.
    pub now: i64,
}

/// Signs and replaces a head that was read and verified.
pub struct HeadSigner<'a> {
    authority: SigningAuthority<'a>,
    verified: Verified,
    revision: Revision,
}

impl<'a> HeadSigner<'a> {
    /// Reads and verifies the head.
    pub fn open(authority: SigningAuthority<'a>) -> Result<Self, TransferError> {
        let (verified, revision) = read(&authority)?;
        Ok(Self {
            authority,
            verified,
            revision,
        })
    }

    /// Returns what was read last.
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// Signs a change as far as the keys reach, for others to sign too.
    pub fn draft(&self, change: &DocumentChanges) -> Result<PendingChange, TransferError> {
        let mut editor = Editor::open(&self.verified, self.authority.now)?;
        apply(&mut editor, change)?;
        Ok(editor.sign_partial(self.authority.keys)?)
    }

    /// Signs what `edit` does, and replaces the head.
    pub fn edit(
        &mut self,
        edit: &mut dyn FnMut(&mut Editor) -> Result<(), TransferError>,
    ) -> Result<(), TransferError> {
        let SigningAuthority {
            remote, keys, now, ..
        } = self.authority;
        let mut editor = Editor::open(&self.verified, now)?;
        edit(&mut editor)?;
        let head = editor.sign(keys)?;
        remote.replace_head(&head, Some(&self.revision))?;
        self.refresh()
    }
}

fn apply(editor: &mut Editor, change: &DocumentChanges) -> Result<(), TransferError> {
    for (target, bytes) in &change.0 {
        match bytes {
            Some(bytes) => editor.put(target, bytes)?,
            None => {
                editor.remove(target)?;
            }
        }
    }
    Ok(())
}

fn read(authority: &SigningAuthority<'_>) -> Result<(Verified, Revision), TransferError> {
    let head = authority.remote.read_head(MAX_HEAD_BYTES)?;
    let head = head.ok_or_else(|| TransferError::Unpublished {
        location: authority.remote.location().to_owned(),
    })?;
    let verified = verify_to_edit(&head.bytes, authority.root, authority.state, authority.now)?;
    Ok((verified, head.revision))
}

impl Signer for HeadSigner<'_> {
    fn refresh(&mut self) -> Result<(), TransferError> {
        (self.verified, self.revision) = read(&self.authority)?;
        Ok(())
    }

    fn catalogue(&self) -> &dyn Catalogue {
        &self.verified
    }

    fn commit(&mut self, change: &DocumentChanges) -> Result<(), TransferError> {
        self.edit(&mut |editor| apply(editor, change))
    }
}
