//! The floors under a reply: one RSA-2048 signature, one HTTP POST of the bytes that SES got, one write of the bytes that
//! the SMTP server got. Each is done a few times by this thread alone; its cost is the mean of this thread's CPU.

use std::{
    hint::black_box,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
};

use anyhow::Context;
use aws_lc_rs::{
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::RSA_PKCS1_SHA256,
};
use nix::time::{ClockId, clock_gettime};

/// What the silent peer reads at a time: a multiple of what loopback delivers.
const READ_BYTES: usize = 256 << 10;
/// What a signature covers: the header fields of a reply, about.
const SIGNED_BYTES: usize = 1 << 10;

/// Signs so many times.
pub(crate) struct Signing(KeyPair);

impl Signing {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self(KeyPair::generate(KeySize::Rsa2048)?))
    }

    pub(crate) fn cpu_ms(&self, times: usize) -> anyhow::Result<f64> {
        let (header, mut signature) = ([b'x'; SIGNED_BYTES], vec![0; self.0.public_modulus_len()]);
        mean_cpu_ms(times, || {
            self.0.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), black_box(&header), &mut signature)?;
            black_box(&signature);
            Ok(())
        })
    }
}

/// Posts one request over and over on one connection, and reads the answers.
pub(crate) fn post_cpu_ms(peer: SocketAddr, request: &[u8], times: usize) -> anyhow::Result<f64> {
    let mut stream = BufReader::new(connect(peer)?);
    let mut line = String::new();
    let mut body = Vec::new();
    mean_cpu_ms(times, || {
        stream.get_mut().write_all(request)?;
        let mut length = 0;
        loop {
            line.clear();
            stream.read_line(&mut line)?;
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.trim().parse()?,
                Some(_) => {}
                None if line == "\r\n" => break,
                None => {}
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body).context("the answer's body")
    })
}

/// Writes so many bytes over and over to one connection.
pub(crate) fn write_cpu_ms(peer: SocketAddr, bytes: usize, times: usize) -> anyhow::Result<f64> {
    let (mut stream, message) = (connect(peer)?, vec![b'x'; bytes]);
    mean_cpu_ms(times, || stream.write_all(black_box(&message)).context("write"))
}

/// A peer that reads and says nothing.
pub(crate) fn silent_peer() -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = vec![0; READ_BYTES];
            while stream.read(&mut buffer).is_ok_and(|read| read > 0) {}
        }
    });
    Ok(address)
}

fn connect(peer: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = TcpStream::connect(peer)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn mean_cpu_ms(times: usize, mut work: impl FnMut() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    work()?; // the first fills the caches
    let start = thread_ms()?;
    for _ in 0..times {
        work()?;
    }
    Ok((thread_ms()? - start) / times as f64)
}

/// CPU of this thread in milliseconds. Not by getrusage(2), which knows a running thread's only to the last tick.
fn thread_ms() -> anyhow::Result<f64> {
    let time = clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)?;
    Ok(time.tv_sec() as f64 * 1e3 + time.tv_nsec() as f64 / 1e6)
}
