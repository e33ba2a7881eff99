//! Which machines take a release, and when.

use crate::format::release::{Channel, ReleaseId};

/// A machine, for choosing among machines: made of its machine id, from which nobody gets that id
/// back.
#[derive(Clone)]
pub struct Machine([u8; 32]);

/// What a machine takes from a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RolloutChoice {
    /// The channel's release.
    Release(ReleaseId),
    /// The release for the machines that do not take part yet.
    Others(ReleaseId),
    /// Nothing before that moment, in seconds since 1970.
    NotYet {
        /// The first second in which the release is taken.
        until: i64,
    },
    /// Nothing: the release is for other machines, so far.
    NotChosen,
}

impl Machine {
    /// Makes one of the text of `/etc/machine-id`.
    ///
    /// The id is confidential (machine-id(5)), so it is hashed with a key of this application, and
    /// even that is never sent.
    pub fn new(machine_id: &str) -> Self {
        let id = machine_id.trim().as_bytes();
        Self(blake3::derive_key("layerset 2026 staged rollout", id))
    }

    /// Says whether the machine is among those that take the channel's release at the moment `now`.
    ///
    /// This depends on machine and channel, not on the release: a higher share adds machines and
    /// drops none.
    pub fn takes_part(&self, channel: &Channel, now: i64) -> bool {
        self.is_chosen(channel) && now >= channel.rollout.not_before
    }

    /// Says what the machine takes from a channel at the moment `now`.
    pub fn choose(&self, channel: &Channel, now: i64) -> RolloutChoice {
        let rollout = &channel.rollout;
        if self.takes_part(channel, now) {
            return RolloutChoice::Release(channel.release);
        }
        match rollout.others {
            Some(others) => RolloutChoice::Others(others),
            None if self.is_chosen(channel) => RolloutChoice::NotYet {
                until: rollout.not_before,
            },
            None => RolloutChoice::NotChosen,
        }
    }

    fn is_chosen(&self, channel: &Channel) -> bool {
        let Channel {
            kind,
            name,
            channel: own,
            rollout,
            ..
        } = channel;
        let text = format!("{}/{name}/{own}", kind.plural());
        let digest = blake3::keyed_hash(&self.0, text.as_bytes());
        let mut first = [0; 8];
        first.copy_from_slice(&digest.as_bytes()[..8]);
        // Scaled to 0..100; the error of that is far below one machine.
        let place = (u128::from(u64::from_le_bytes(first)) * 100) >> 64;
        place < u128::from(rollout.percent)
    }
}
