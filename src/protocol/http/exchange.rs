//! `Exchange`: what is known of one request and its response while they are under way. It decides nothing.

use super::forwarding::Identity;
use super::head::{KeepClient, Method, Version};
use super::site::Course;
use super::transfer::{Framing, Transfer};
use super::upgrade;
use crate::protocol::Parting;

/// What is known of one request and its response; the default is of one that has not begun.
#[derive(Default)]
pub(super) struct Exchange {
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) course: Course,
    /// What the route adds to the fields of the response, as whole lines.
    pub(super) response_fields: Vec<u8>,
    /// What the client asked for.
    pub(super) asked: KeepClient,
    pub(super) keep_client: KeepClient,
    pub(super) backend: Parting,
    pub(super) request: Transfer,
    pub(super) response: Transfer,
    pub(super) framing: Framing,
    pub(super) request_head_bytes: u32,
    pub(super) response_head_bytes: u32,
    /// The client waits for a word of the backend's before it sends its body (RFC 9110 section 10.1.1).
    pub(super) expecting: bool,
    /// What the request asked to change to.
    pub(super) upgrade: Option<upgrade::Protocol>,
    /// What the request is called, where its client is told.
    pub(super) identity: Option<Box<Identity>>,
}
