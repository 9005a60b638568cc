//! HTTP messages as the scenarios read them: a head, a body by its framing, trailers.
//!
//! Deliberately naive and separate from plb's own parser, so that one cannot hide a fault of the other.

use std::io::{self, ErrorKind, Read};

/// A request or a response.
#[derive(Clone, Debug, Default)]
pub struct Message {
    /// The request line or the status line, without its end.
    pub start: String,
    /// The fields in their order, the names as they were sent.
    pub fields: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// The fields after a chunked body.
    pub trailers: Vec<(String, String)>,
}

/// How the end of a body is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// There is none.
    Empty,
    /// So many bytes.
    Length(usize),
    /// Chunks.
    Chunked,
    /// The end of the connection.
    UntilClose,
}

impl Message {
    /// The method of a request.
    pub fn method(&self) -> &str {
        self.start.split(' ').next().unwrap_or("")
    }

    /// The target of a request.
    pub fn target(&self) -> &str {
        self.start.split(' ').nth(1).unwrap_or("")
    }

    /// The status code of a response; 0 where there is none.
    pub fn status(&self) -> u16 {
        self.start.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// The values of all fields with this name.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str()).collect()
    }

    /// The value of the only field with this name.
    pub fn field(&self, name: &str) -> Option<&str> {
        let values = self.all(name);
        assert!(values.len() < 2, "{name} more than once: {values:?}");
        values.first().copied()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The framing of a request's body.
    pub fn request_framing(&self) -> Framing {
        self.framing(Framing::Empty)
    }

    /// The framing of the body of a response to `method`.
    pub fn response_framing(&self, method: &str) -> Framing {
        let bodiless = method == "HEAD" || matches!(self.status(), 100..=199 | 204 | 304);
        if bodiless { Framing::Empty } else { self.framing(Framing::UntilClose) }
    }

    fn framing(&self, otherwise: Framing) -> Framing {
        if self.field("transfer-encoding").is_some_and(|coding| coding.eq_ignore_ascii_case("chunked")) {
            return Framing::Chunked;
        }
        match self.field("content-length") {
            Some(length) => Framing::Length(length.parse().expect("a content length is a number")),
            None => otherwise,
        }
    }
}

/// A source of bytes with what was read from it and not used yet.
pub struct Inlet<R> {
    source: R,
    pending: Vec<u8>,
}

impl<R: Read> Inlet<R> {
    /// Reads from `source`.
    pub fn new(source: R) -> Inlet<R> {
        Inlet { source, pending: Vec::new() }
    }

    /// The next head; `None` when the source ended before its first byte.
    pub fn head(&mut self) -> io::Result<Option<Message>> {
        if self.pending.is_empty() && self.fill()? == 0 {
            return Ok(None);
        }
        let start = self.line()?;
        Ok(Some(Message { start, fields: self.fields()?, ..Message::default() }))
    }

    /// The body that follows, and its trailers, into `message`.
    pub fn body(&mut self, message: &mut Message, framing: Framing) -> io::Result<()> {
        match framing {
            Framing::Empty => {}
            Framing::Length(length) => message.body = self.exactly(length)?,
            Framing::UntilClose => message.body = self.until_end()?,
            Framing::Chunked => {
                while let Some(mut chunk) = self.chunk()? {
                    message.body.append(&mut chunk);
                }
                message.trailers = self.fields()?;
            }
        }
        Ok(())
    }

    /// Exactly so many bytes.
    pub fn exactly(&mut self, length: usize) -> io::Result<Vec<u8>> {
        while self.pending.len() < length {
            self.fill_more()?;
        }
        let rest = self.pending.split_off(length);
        Ok(std::mem::replace(&mut self.pending, rest))
    }

    /// Everything until the orderly end.
    pub fn until_end(&mut self) -> io::Result<Vec<u8>> {
        while self.fill()? > 0 {}
        Ok(std::mem::take(&mut self.pending))
    }

    /// What is there at once, at least one byte; nothing at the end.
    pub fn some(&mut self) -> io::Result<Vec<u8>> {
        if self.pending.is_empty() {
            self.fill()?;
        }
        Ok(std::mem::take(&mut self.pending))
    }

    fn chunk(&mut self) -> io::Result<Option<Vec<u8>>> {
        let line = self.line()?;
        let digits = line.split(';').next().unwrap_or("").trim();
        let size = usize::from_str_radix(digits, 16)
            .map_err(|_| io::Error::new(ErrorKind::InvalidData, format!("chunk size {line:?}")))?;
        if size == 0 {
            return Ok(None);
        }
        let data = self.exactly(size)?;
        match self.line()?.as_str() {
            "" => Ok(Some(data)),
            other => Err(io::Error::new(ErrorKind::InvalidData, format!("after a chunk: {other:?}"))),
        }
    }

    fn fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line.split_once(':').unwrap_or((&line, ""));
            fields.push((name.to_string(), value.trim().to_string()));
        }
    }

    /// The next line, without its CRLF.
    pub fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.pending.windows(2).position(|pair| pair == b"\r\n") {
                let line = String::from_utf8_lossy(&self.pending[..end]).into_owned();
                self.pending.drain(..end + 2);
                return Ok(line);
            }
            self.fill_more()?;
        }
    }

    fn fill_more(&mut self) -> io::Result<()> {
        match self.fill()? {
            0 => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(()),
        }
    }

    fn fill(&mut self) -> io::Result<usize> {
        let mut room = [0; 65_536];
        loop {
            match self.source.read(&mut room) {
                Ok(count) => {
                    self.pending.extend_from_slice(&room[..count]);
                    return Ok(count);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}
