//! Bodies of answers: bytes that are there, or a part of a file in chunks; each notes its end.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead as _, ReadBuf};

use super::account::Account;

/// How much of a file is in memory for each answer.
const CHUNK_BYTES: usize = 128 << 10;

/// The body of an answer.
pub(super) struct Answer {
    source: BodySource,
    account: Account,
}

/// Where the bytes of an answer come from.
pub(super) enum BodySource {
    /// From memory; empty when they were sent, or when none are wanted.
    Bytes(Bytes),
    /// From a file that stands where they begin, so many of them.
    File(File, u64),
}

impl Answer {
    pub(super) fn new(source: BodySource, account: Account) -> Self {
        Self { source, account }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let read = match &mut self.source {
            BodySource::Bytes(bytes) => Poll::Ready(Ok(std::mem::take(bytes))),
            BodySource::File(file, left) => read_some(file, left, context),
        };
        let Poll::Ready(bytes) = read else {
            return Poll::Pending;
        };
        Poll::Ready(match bytes {
            Ok(bytes) if bytes.is_empty() => None,
            Ok(bytes) => {
                self.account.sent(bytes.len() as u64);
                Some(Ok(Frame::data(bytes)))
            }
            Err(error) => Some(Err(error)),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.size_hint().exact() == Some(0)
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match &self.source {
            BodySource::Bytes(bytes) => bytes.len() as u64,
            BodySource::File(_, left) => *left,
        })
    }
}

/// Reads the next chunk; none are left when it is empty. A file that ends early is an error, which
/// cuts the connection: the length was promised.
fn read_some(
    file: &mut File,
    left: &mut u64,
    context: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    if *left == 0 {
        return Poll::Ready(Ok(Bytes::new()));
    }
    let wanted = usize::try_from(*left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
    let mut chunk = vec![0; wanted];
    let mut buffer = ReadBuf::new(&mut chunk);
    match Pin::new(file).poll_read(context, &mut buffer) {
        Poll::Pending => return Poll::Pending,
        Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
        Poll::Ready(Ok(())) => {}
    }
    let read = buffer.filled().len();
    if read == 0 {
        return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
    }
    chunk.truncate(read);
    *left -= read as u64;
    Poll::Ready(Ok(Bytes::from(chunk)))
}
