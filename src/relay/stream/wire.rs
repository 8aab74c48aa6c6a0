//! The bytes of one connection, plain or encrypted, in a socket that never blocks.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

use bytes::{Buf as _, BytesMut};
use rustls::pki_types::CertificateDer;

/// How bytes become those on the network.
pub(super) enum Wire {
    /// They are the same.
    Plain,
    /// TLS.
    Tls(Box<rustls::Connection>),
}

impl Wire {
    /// The handshake is not over: nothing of ours can be sent yet.
    pub(super) fn is_handshaking(&self) -> bool {
        match self {
            Self::Plain => false,
            Self::Tls(tls) => tls.is_handshaking(),
        }
    }

    /// The certificates that the peer has shown, its own first.
    pub(super) fn certificates(&self) -> Option<&[CertificateDer<'static>]> {
        match self {
            Self::Plain => None,
            Self::Tls(tls) => tls.peer_certificates(),
        }
    }

    /// Reads into `buffer`: `None` when nothing has come, 0 at the end of the stream.
    pub(super) fn read(
        &mut self,
        mut socket: &TcpStream,
        buffer: &mut [u8],
    ) -> io::Result<Option<usize>> {
        let tls = match self {
            Self::Plain => return unless_blocked(socket.read(buffer)),
            Self::Tls(tls) => tls,
        };
        loop {
            match unless_blocked(tls.reader().read(buffer)) {
                Ok(None) => {}
                // A peer that closes without saying so is as good as one that does: no message of
                // ours ends with the connection.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(Some(0)),
                read => return read,
            }
            match unless_blocked(tls.read_tls(&mut socket))? {
                None => return Ok(None),
                Some(0) => return Ok(Some(0)),
                Some(_) => {}
            }
            if let Err(error) = tls.process_new_packets() {
                // The peer may want to know why; whether it does is its own affair.
                tls.write_tls(&mut socket).ok();
                return Err(io::Error::new(ErrorKind::InvalidData, error));
            }
        }
    }

    /// Sends as much of `out` as the socket takes, and what the handshake wants sent.
    pub(super) fn write(&mut self, mut socket: &TcpStream, out: &mut BytesMut) -> io::Result<()> {
        loop {
            let written = match self {
                Self::Plain if out.is_empty() => return Ok(()),
                Self::Plain => unless_blocked(socket.write(out))?.inspect(|n| out.advance(*n)),
                Self::Tls(tls) => {
                    if !tls.is_handshaking() && !out.is_empty() {
                        let taken = tls.writer().write(out)?;
                        out.advance(taken);
                    }
                    if !tls.wants_write() {
                        return Ok(());
                    }
                    unless_blocked(tls.write_tls(&mut socket))?
                }
            };
            match written {
                None => return Ok(()),
                Some(0) => return Err(ErrorKind::WriteZero.into()),
                Some(_) => {}
            }
        }
    }

    /// There is something to send as soon as the socket takes it.
    pub(super) fn wants_write(&self, out: &BytesMut) -> bool {
        match self {
            Self::Plain => !out.is_empty(),
            Self::Tls(tls) => tls.wants_write() || !tls.is_handshaking() && !out.is_empty(),
        }
    }
}

/// `None` when the socket would have to wait.
fn unless_blocked(outcome: io::Result<usize>) -> io::Result<Option<usize>> {
    match outcome {
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
