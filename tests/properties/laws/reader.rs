//! A second reader of HTTP/1 messages, written from RFC 9112 alone: what it says decides whether plb and whoever stands
//! behind it can disagree.
//!
//! It is strict where the RFC leaves a choice, so that whatever plb takes and this reader does not is a finding. It reads
//! from the start each time and copies everything, for it need not be fast. It must never use plb's parser, nor the one
//! that plb uses.

/// Names and values in their order, as they were sent but for white space around the values.
pub type Fields = Vec<(Vec<u8>, Vec<u8>)>;

/// Who wrote what is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writer {
    /// Anybody: both versions, the absolute form, chunk extensions, and empty lines before a request.
    Peer,
    /// plb, which writes one form only.
    Plb,
}

/// The head of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Method, target and version; or version, status and reason.
    pub line: [Vec<u8>; 3],
    pub fields: Fields,
}

/// How much of a message there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// All of it, or all that can be.
    Whole,
    /// More must come.
    Part,
    /// It breaks the rules.
    Bad(&'static str),
}

/// What was read of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    pub head: Option<Head>,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub extent: Extent,
    /// The bytes that belong to it, when it is whole.
    pub bytes: usize,
}

/// How the end of a body is found (RFC 9112 section 6.3).
enum Framing {
    Sized(u64),
    Chunked,
    UntilClose,
}

impl Head {
    /// The values of all fields with this name, which is in lower case.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        all(&self.fields, name)
    }

    /// The status of a response.
    pub fn status(&self) -> u16 {
        String::from_utf8_lossy(&self.line[1]).parse().unwrap_or(0)
    }

    /// Whether the sender means to go on with the connection after this message (RFC 9112 section 9.3).
    pub fn is_persistent(&self) -> bool {
        let options = self.options();
        let has = |wanted: &str| options.iter().any(|option| option == wanted.as_bytes());
        !has("close") && (has("keep-alive") || self.line.iter().any(|part| part == b"HTTP/1.1"))
    }

    /// The options of `Connection`, in lower case.
    pub fn options(&self) -> Vec<Vec<u8>> {
        let values = self.all("connection");
        let options = values.iter().flat_map(|value| value.split(|&byte| byte == b','));
        options.map(|option| trimmed(option).to_ascii_lowercase()).collect()
    }
}

/// The request at the start of the input.
pub fn request(input: &[u8], writer: Writer) -> Message {
    let mut input = Input { bytes: input, at: 0, writer };
    if writer == Writer::Peer {
        while input.rest().starts_with(b"\r\n") {
            input.at += 2;
        }
    }
    let mut message = nothing();
    message.extent = input.request(&mut message).err().unwrap_or(Extent::Whole);
    message.bytes = input.at;
    message
}

/// The response at the start of the input, to a request with this method, when nothing follows the input.
pub fn response(input: &[u8], method: &[u8], writer: Writer) -> Message {
    let mut input = Input { bytes: input, at: 0, writer };
    let mut message = nothing();
    message.extent = input.response(&mut message, method).err().unwrap_or(Extent::Whole);
    message.bytes = input.at;
    message
}

/// The chunked body at the start of the input.
pub fn chunks(input: &[u8], writer: Writer) -> Message {
    let mut input = Input { bytes: input, at: 0, writer };
    let mut message = nothing();
    message.extent = input.chunks(&mut message).err().unwrap_or(Extent::Whole);
    message.bytes = input.at;
    message
}

fn nothing() -> Message {
    Message { head: None, body: Vec::new(), trailers: Vec::new(), extent: Extent::Part, bytes: 0 }
}

struct Input<'a> {
    bytes: &'a [u8],
    at: usize,
    writer: Writer,
}

type Step<T> = Result<T, Extent>;

impl<'a> Input<'a> {
    fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }

    /// The next line without its CR LF, which is the only end that a line has.
    fn line(&mut self) -> Step<&'a [u8]> {
        let rest = self.rest();
        let Some(end) = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else { return Err(Extent::Part) };
        match rest[end..] {
            [b'\r'] => Err(Extent::Part),
            [b'\r', b'\n', ..] => {
                self.at += end + 2;
                Ok(&rest[..end])
            }
            _ => Err(Extent::Bad("a CR or LF alone")),
        }
    }

    fn request(&mut self, message: &mut Message) -> Step<()> {
        let line = three_words(self.line()?).ok_or(Extent::Bad("a request line that is none"))?;
        let [method, target, version] = &line;
        if !is_token(method) || target.is_empty() || !target.iter().all(u8::is_ascii_graphic) {
            return Err(Extent::Bad("a request line that is none"));
        }
        self.check_version(version)?;
        let plain = target.starts_with(b"/") || (target == b"*" && method == b"OPTIONS");
        if self.writer == Writer::Plb && (!plain || target.contains(&b'#')) {
            return Err(Extent::Bad("a target that is not in origin form"));
        }
        let head = Head { fields: self.fields()?, line };
        let hosts = head.all("host").len();
        if hosts > 1 || (hosts == 0 && head.line[2] == b"HTTP/1.1") {
            return Err(Extent::Bad("not one Host"));
        }
        let framing = framing(&head)?.unwrap_or(Framing::Sized(0));
        message.head = Some(head);
        self.body(message, framing)
    }

    fn response(&mut self, message: &mut Message, method: &[u8]) -> Step<()> {
        let line = self.line()?;
        let mut words = line.splitn(3, |&byte| byte == b' ').map(<[u8]>::to_vec);
        let mut next = || words.next().unwrap_or_default();
        let line = [next(), next(), next()];
        let [version, status, reason] = &line;
        if status.len() != 3 || !status.iter().all(u8::is_ascii_digit) || !is_value(reason) {
            return Err(Extent::Bad("a status line that is none"));
        }
        self.check_version(version)?;
        let head = Head { fields: self.fields()?, line };
        let framing = framing(&head)?.unwrap_or(Framing::UntilClose);
        let bodiless = method == b"HEAD" || matches!(head.status(), 100..=199 | 204 | 304);
        message.head = Some(head);
        if bodiless { Ok(()) } else { self.body(message, framing) }
    }

    fn check_version(&self, version: &[u8]) -> Step<()> {
        let known = version == b"HTTP/1.1" || (version == b"HTTP/1.0" && self.writer == Writer::Peer);
        if known { Ok(()) } else { Err(Extent::Bad("an unknown version")) }
    }

    /// Field lines up to the empty line.
    fn fields(&mut self) -> Step<Fields> {
        let mut fields = Vec::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let colon = line.iter().position(|&byte| byte == b':').ok_or(Extent::Bad("a field without a colon"))?;
            let (name, value) = (&line[..colon], &line[colon + 1..]);
            if !is_token(name) || !is_value(value) {
                return Err(Extent::Bad("a field that is none"));
            }
            fields.push((name.to_vec(), trimmed(value).to_vec()));
        }
    }

    fn body(&mut self, message: &mut Message, framing: Framing) -> Step<()> {
        match framing {
            Framing::Chunked => self.chunks(message),
            Framing::Sized(length) => self.take(length, &mut message.body),
            Framing::UntilClose => self.take(self.rest().len() as u64, &mut message.body),
        }
    }

    fn take(&mut self, length: u64, to: &mut Vec<u8>) -> Step<()> {
        let rest = self.rest();
        let count = usize::try_from(length).unwrap_or(usize::MAX).min(rest.len());
        to.extend_from_slice(&rest[..count]);
        self.at += count;
        if count as u64 == length { Ok(()) } else { Err(Extent::Part) }
    }

    fn chunks(&mut self, message: &mut Message) -> Step<()> {
        loop {
            let line = self.line()?;
            let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
            let (size, extension) = line.split_at(digits);
            let plain = extension.is_empty() || (self.writer == Writer::Peer && extension[0] == b';');
            let size = std::str::from_utf8(size).ok().and_then(|size| u64::from_str_radix(size, 16).ok());
            let (Some(size), true) = (size, plain && is_value(extension)) else {
                return Err(Extent::Bad("a chunk size that is none"));
            };
            if size == 0 {
                break;
            }
            self.take(size, &mut message.body)?;
            if !self.line()?.is_empty() {
                return Err(Extent::Bad("a chunk that is longer than it says"));
            }
        }
        message.trailers = self.fields()?;
        let belongs_in_head = |name: &[u8]| {
            let name = name.to_ascii_lowercase();
            [&b"content-length"[..], b"transfer-encoding", b"host", b"connection"].contains(&&name[..])
        };
        match message.trailers.iter().any(|(name, _)| belongs_in_head(name)) {
            true => Err(Extent::Bad("a trailer that frames or routes")),
            false => Ok(()),
        }
    }
}

/// `None` when the head announces no body.
fn framing(head: &Head) -> Step<Option<Framing>> {
    let (codings, lengths) = (head.all("transfer-encoding"), head.all("content-length"));
    match (&codings[..], &lengths[..]) {
        ([], []) => Ok(None),
        ([], [length]) => {
            let digits = !length.is_empty() && length.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok());
            number.filter(|_| digits).map(|length| Some(Framing::Sized(length))).ok_or(Extent::Bad("a bad length"))
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") && head.line.iter().any(|p| p == b"HTTP/1.1") => {
            Ok(Some(Framing::Chunked))
        }
        _ => Err(Extent::Bad("two framings, or an unknown one")),
    }
}

/// The values of all fields with this name, which is in lower case.
pub fn all<'a>(fields: &'a Fields, name: &str) -> Vec<&'a [u8]> {
    let named = fields.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name.as_bytes()));
    named.map(|(_, value)| value.as_slice()).collect()
}

fn three_words(line: &[u8]) -> Option<[Vec<u8>; 3]> {
    let words: Vec<Vec<u8>> = line.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect();
    words.try_into().ok()
}

fn is_token(bytes: &[u8]) -> bool {
    let marks = b"!#$%&'*+-.^_`|~";
    !bytes.is_empty() && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || marks.contains(byte))
}

/// Visible characters, spaces, tabs, and what is beyond ASCII.
fn is_value(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 127))
}

/// Without spaces and tabs at both ends.
fn trimmed(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}
