//! HTTP messages as the simulated peers see them: read with a decoder of their own, made with contents that follow
//! from a number, so that every byte can be checked.

/// A message that was read whole.
pub struct Message {
    pub first_line: String,
    fields: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Message {
    /// The value of a field; names are in lower case.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The status of a response.
    pub fn status(&self) -> u32 {
        self.first_line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
    }

    /// Whether the sender ends the connection after it.
    pub fn closes(&self) -> bool {
        self.field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// What is read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Request,
    Response,
    /// A response to `HEAD`.
    HeadOnly,
}

enum State {
    Head,
    Sized(usize),
    ChunkSize,
    ChunkData(usize),
    ChunkEnd,
    Trailer,
    UntilClose,
}

/// Reads messages from bytes as they come.
pub struct Decoder {
    pub bytes: Vec<u8>,
    state: State,
    message: Option<Message>,
}

impl Decoder {
    pub fn new() -> Decoder {
        Decoder { bytes: Vec::new(), state: State::Head, message: None }
    }

    /// Whether nothing of a message has come.
    pub fn is_fresh(&self) -> bool {
        self.message.is_none() && self.bytes.is_empty()
    }

    /// Whether the body goes on until the end of the connection.
    pub fn lasts_until_close(&self) -> bool {
        matches!(self.state, State::UntilClose)
    }

    /// What has come of the message that is being read.
    pub fn partial(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    /// The next whole message.
    pub fn next(&mut self, kind: Kind) -> Result<Option<Message>, String> {
        loop {
            match self.state {
                State::Head => {
                    let Some(end) = find(&self.bytes, b"\r\n\r\n") else { return Ok(None) };
                    let head: Vec<u8> = self.bytes.drain(..end + 4).collect();
                    let message = parse_head(&head)?;
                    self.state = framing(&message, kind)?;
                    self.message = Some(message);
                }
                State::Sized(0) => return Ok(self.done()),
                State::Sized(left) => match self.take(left) {
                    0 => return Ok(None),
                    count => self.state = State::Sized(left - count),
                },
                State::ChunkSize => {
                    let Some(line) = self.line() else { return Ok(None) };
                    let size = usize::from_str_radix(&line, 16).map_err(|_| format!("a bad chunk size {line:?}"))?;
                    self.state = if size == 0 { State::Trailer } else { State::ChunkData(size) };
                }
                State::ChunkData(0) => self.state = State::ChunkEnd,
                State::ChunkData(left) => match self.take(left) {
                    0 => return Ok(None),
                    count => self.state = State::ChunkData(left - count),
                },
                State::ChunkEnd => match self.line() {
                    None => return Ok(None),
                    Some(line) if line.is_empty() => self.state = State::ChunkSize,
                    Some(line) => return Err(format!("{line:?} after a chunk")),
                },
                State::Trailer => match self.line() {
                    None => return Ok(None),
                    Some(line) if line.is_empty() => return Ok(self.done()),
                    Some(_) => {}
                },
                State::UntilClose => {
                    self.take(usize::MAX);
                    return Ok(None);
                }
            }
        }
    }

    /// The message whose body the end of the connection ends.
    pub fn done(&mut self) -> Option<Message> {
        self.state = State::Head;
        self.message.take()
    }

    fn take(&mut self, most: usize) -> usize {
        let count = most.min(self.bytes.len());
        if let Some(message) = &mut self.message {
            message.body.extend(self.bytes.drain(..count));
        }
        count
    }

    fn line(&mut self) -> Option<String> {
        let end = find(&self.bytes, b"\r\n")?;
        let line = String::from_utf8_lossy(&self.bytes[..end]).into_owned();
        self.bytes.drain(..end + 2);
        Some(line)
    }
}

pub fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

fn parse_head(head: &[u8]) -> Result<Message, String> {
    let text = String::from_utf8(head.to_vec()).map_err(|_| "a head that is no text".to_owned())?;
    let mut lines = text.trim_end().split("\r\n");
    let first_line = lines.next().unwrap_or_default().to_owned();
    if !first_line.contains("HTTP/1.") {
        return Err(format!("a first line that is none: {first_line:?}"));
    }
    let split = |line: &str| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()));
    let fields = lines.map(|line| split(line).ok_or_else(|| format!("a bad field {line:?}")));
    Ok(Message { first_line, fields: fields.collect::<Result<_, _>>()?, body: Vec::new() })
}

fn framing(message: &Message, kind: Kind) -> Result<State, String> {
    let status = if kind == Kind::Request { 200 } else { message.status() };
    if kind == Kind::HeadOnly || status < 200 || status == 204 {
        return Ok(State::Sized(0));
    }
    if message.field("transfer-encoding").is_some() {
        return Ok(State::ChunkSize);
    }
    match message.field("content-length") {
        Some(length) => length.parse().map(State::Sized).map_err(|_| format!("a bad length {length:?}")),
        None if kind == Kind::Request => Ok(State::Sized(0)),
        None => Ok(State::UntilClose),
    }
}

/// The byte at a place of the contents with this number.
pub fn content_byte(number: u32, place: usize) -> u8 {
    (number as usize * 37 + place * 7 + place / 251) as u8
}

/// Contents that follow from a number.
pub fn content(number: u32, length: usize) -> Vec<u8> {
    (0..length).map(|place| content_byte(number, place)).collect()
}

/// A body in chunks of this size.
pub fn chunked(body: &[u8], size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for (index, chunk) in body.chunks(size.max(1)).enumerate() {
        let extension = if index % 3 == 1 { ";x=y" } else { "" };
        out.extend_from_slice(format!("{:x}{extension}\r\n", chunk.len()).as_bytes());
        out.extend_from_slice(chunk);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"0\r\n");
    if size % 2 == 0 {
        out.extend_from_slice(b"X-Sum: 1\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out
}
