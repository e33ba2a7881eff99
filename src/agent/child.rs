//! A program of somebody else's that has a time to end in.

use std::process::Child;
use std::time::{Duration, Instant};

/// Waits for a program, and ends it when its time is over. Says what is wrong unless it ended well.
pub(super) fn end_within(child: &mut Child, limit: Duration) -> Result<(), String> {
    let end = Instant::now() + limit;
    loop {
        match child.try_wait() {
            Ok(Some(status)) if status.success() => return Ok(()),
            Ok(Some(status)) => return Err(format!("it ended with {status}")),
            Ok(None) if Instant::now() < end => std::thread::sleep(Duration::from_millis(20)),
            Ok(None) => {
                // What it started itself may live on; it is the check's own.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not end within {} s", limit.as_secs()));
            }
            Err(error) => return Err(format!("it cannot be waited for: {error}")),
        }
    }
}
