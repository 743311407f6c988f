//! The end of a connection whose client still sends: what it was answered must reach it first.
//!
//! A socket that is closed with bytes unread resets its connection, and takes back whatever of the answer the
//! client has not read yet. So the gateway says first that nothing more comes (FIN), then reads and throws away
//! until the client ends too. It waits for nobody for long.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// How long a client that sends on is read: it takes its answer meanwhile. Less than a stop waits.
const LONGEST: Duration = Duration::from_secs(3);
/// How long one that sends nothing is waited for.
const QUIET: Duration = Duration::from_secs(1);
/// What is thrown away at once, bytes.
const SCRATCH_LEN: usize = 16 * 1024;

/// A connection that ends as written above.
#[derive(Debug)]
pub(super) struct Lingering<S> {
    stream: S,
    end: End,
}

#[derive(Debug)]
enum End {
    /// It has not begun.
    Open,
    /// Said to the client; read until `quiet` fires, which is never behind `until`.
    Said { until: Instant, quiet: Pin<Box<Sleep>> },
}

impl<S> Lingering<S> {
    pub(super) const fn new(stream: S) -> Self {
        Self { stream, end: End::Open }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lingering<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lingering<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Self { stream, end } = self.get_mut();
        if matches!(end, End::Open) {
            std::task::ready!(Pin::new(&mut *stream).poll_shutdown(cx))?;
            let now = Instant::now();
            *end = End::Said { until: now + LONGEST, quiet: Box::pin(sleep_until(now + QUIET)) };
        }
        let End::Said { until, quiet } = end else { unreachable!("it was said above") };
        let mut scratch = [0; SCRATCH_LEN];
        loop {
            let mut read = ReadBuf::new(&mut scratch);
            match Pin::new(&mut *stream).poll_read(cx, &mut read) {
                Poll::Ready(Ok(())) if !read.filled().is_empty() => {
                    let now = Instant::now();
                    if now >= *until {
                        return Poll::Ready(Ok(()));
                    }
                    quiet.as_mut().reset((now + QUIET).min(*until));
                }
                // The client has ended, or is gone.
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => return quiet.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    /// The client of a connection that ends does this; how long the end took, of time that does not pass by itself.
    fn end_takes(client: impl AsyncFnOnce(tokio::io::DuplexStream)) -> Duration {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
        runtime.expect("a runtime").block_on(async {
            let (ours, theirs) = duplex(1_024);
            let began = Instant::now();
            let mut ours = Lingering::new(ours);
            let ends = async move {
                ours.write_all(b"answer").await.expect("there is room");
                ours.shutdown().await.expect("it ends");
                began.elapsed()
            };
            tokio::join!(ends, client(theirs)).0
        })
    }

    async fn answer(client: &mut tokio::io::DuplexStream) {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.expect("the answer has an end");
        assert_eq!(answer, "answer");
    }

    #[test]
    fn a_client_that_ends_too_is_not_waited_for() {
        let took = end_takes(async |mut client| answer(&mut client).await);
        assert_eq!(took, Duration::ZERO);
    }

    #[test]
    fn a_client_that_is_quiet_is_waited_for_a_little() {
        let took = end_takes(async |mut client| {
            answer(&mut client).await;
            tokio::time::sleep(LONGEST * 2).await;
        });
        assert_eq!(took, QUIET);
    }

    #[test]
    fn a_client_that_sends_on_is_read_for_a_while() {
        let took = end_takes(async |mut client| {
            while client.write_all(&[0; 100]).await.is_ok() {
                tokio::time::sleep(QUIET / 4).await;
            }
        });
        assert_eq!(took, LONGEST);
    }
}
