//! A mail filter (milter, protocol version 6) that calls every mail spam: it adds `X-Spam-Flag: YES`, as SpamAssassin's does.
//!
//! One thread a connection; they end with their connections, and the listener with the test's process.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::Path,
};

/// The version of the protocol, that it may add fields, and of what it wants to hear nothing: connection, HELO, MAIL, RCPT, body,
/// fields, end of header, unknown commands, DATA.
const NEGOTIATED: [u32; 3] = [6, 0x01, 0x37f];
/// The longest packet that is read.
const PACKET_BYTES_MAX: usize = 1 << 20;

/// Listens at this path, for everybody.
///
/// # Panics
/// If it cannot.
pub fn listen(path: &Path) {
    let listener = UnixListener::bind(path).expect("a socket for the milter");
    fs::set_permissions(path, fs::Permissions::from_mode(0o666)).expect("its mode");
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || serve(connection));
        }
    });
}

fn serve(mut connection: UnixStream) -> io::Result<()> {
    loop {
        let (command, _) = read(&mut connection)?;
        match command {
            b'O' => write(&mut connection, b'O', &NEGOTIATED.map(u32::to_be_bytes).concat())?,
            b'E' => {
                write(&mut connection, b'h', b"X-Spam-Flag\0YES\0")?;
                write(&mut connection, b'a', b"")?;
            }
            // Macros and an abort have no answer.
            b'D' | b'A' => {}
            b'Q' => return Ok(()),
            _ => write(&mut connection, b'c', b"")?,
        }
    }
}

fn read(connection: &mut UnixStream) -> io::Result<(u8, Vec<u8>)> {
    let mut length = [0; 4];
    connection.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length) as usize;
    if length == 0 || length > PACKET_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut packet = vec![0; length];
    connection.read_exact(&mut packet)?;
    Ok((packet[0], packet.split_off(1)))
}

fn write(connection: &mut UnixStream, command: u8, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len() + 1).expect("a short packet");
    connection.write_all(&[&length.to_be_bytes()[..], &[command], data].concat())
}
