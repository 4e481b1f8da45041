use std::borrow::Cow;

use super::{Caching, Endpoint, Family, Input, Method, Outcome, Parts, Public, Text};
use crate::error::Error;

/// `GET /`
pub const CHAT: Endpoint<Public, DocumentRequest, Document> =
    Endpoint::new("pages-chat", Method::Get, &["/"], 200).with_caching(Caching::ByOutcome);
/// `GET /admin`
pub const ADMIN: Endpoint<Public, DocumentRequest, Document> =
    Endpoint::new("pages-admin", Method::Get, &["/admin"], 200).with_caching(Caching::ByOutcome);
/// `GET /docs`
pub const DOCS: Endpoint<Public, DocumentRequest, Document> =
    Endpoint::new("pages-docs", Method::Get, &["/docs"], 200).with_caching(Caching::ByOutcome);
/// `GET /assets/{file}`
pub const ASSETS: Endpoint<Public, DocumentRequest, Document> =
    Endpoint::new("pages-assets", Method::Get, &["/assets/{file}"], 200).with_caching(Caching::ByOutcome);

/// What browsers may do with our pages: load scripts, styles and data from here, and nothing from elsewhere. There is nothing inline.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'";

/// A browser wants a page, or what a page is made of.
#[derive(Debug)]
pub struct DocumentRequest {
    /// The path below which the deployment is, with a slash at its end: addresses in pages are relative to it.
    pub base: String,
    /// The file, where the route has one.
    pub file: String,
    /// The versions that the browser has already, by `If-None-Match`.
    known: Vec<String>,
}

impl Input for DocumentRequest {
    type Body = ();
    const READS_BODY: bool = false;

    fn read(parts: Parts<'_>) -> Result<Self, Error> {
        Ok(Self {
            base: parts.base.to_owned(),
            file: parts.path.get("file").cloned().unwrap_or_default(),
            known: parts.if_none_match.to_owned(),
        })
    }
}

/// A text that is not JSON: a page, or what a page is made of.
#[derive(Debug)]
pub struct Document {
    media_type: &'static str,
    text: Cow<'static, str>,
    lasting: Lasting,
}

/// How long a document stays what it is.
#[derive(Debug)]
enum Lasting {
    /// It may change at any time; this is its version, and whether the browser has it.
    Versioned { tag: String, is_known: bool },
    /// Under this name there is never another one.
    Forever,
    /// It stands in for what its name says.
    Once,
}

impl Document {
    /// A page, whose text follows from its version and the address. A browser asks again each time, and is told if it has this version.
    pub fn page(text: String, version: &str, request: &DocumentRequest) -> Self {
        // Weak: the gateway may compress it (RFC 9110 section 8.8.1). Compared without regard to that (section 13.1.2).
        let tag = format!("W/\"{version}\"");
        let mut listed = request.known.iter().flat_map(|list| list.split(',')).map(str::trim);
        let is_known = listed.any(|one| one == "*" || one.trim_start_matches("W/") == &tag[2..]);
        Self {
            media_type: "text/html; charset=utf-8",
            text: text.into(),
            lasting: Lasting::Versioned { tag, is_known },
        }
    }

    /// What is called by its content: a browser need never ask again.
    pub fn lasting(media_type: &'static str, text: &'static str) -> Self {
        Self {
            media_type,
            text: text.into(),
            lasting: Lasting::Forever,
        }
    }

    /// What is given in place of another version of it, which is not here.
    pub fn instead(media_type: &'static str, text: &'static str) -> Self {
        Self {
            lasting: Lasting::Once,
            ..Self::lasting(media_type, text)
        }
    }
}

impl Outcome for Document {
    type Body = Text;

    fn is_known(&self) -> bool {
        matches!(self.lasting, Lasting::Versioned { is_known: true, .. })
    }

    fn headers(&self, _family: Family) -> Vec<(&'static str, String)> {
        let mut headers = vec![
            ("content-security-policy", CONTENT_SECURITY_POLICY.to_owned()),
            ("referrer-policy", "no-referrer".to_owned()),
            ("cross-origin-opener-policy", "same-origin".to_owned()),
        ];
        if !self.is_known() {
            headers.push(("content-type", self.media_type.to_owned()));
        }
        match &self.lasting {
            Lasting::Versioned { tag, .. } => {
                headers.extend([("cache-control", "no-cache".to_owned()), ("etag", tag.clone())]);
            }
            Lasting::Forever => headers.push(("cache-control", "public, max-age=31536000, immutable".to_owned())),
            Lasting::Once => headers.push(("cache-control", "no-store".to_owned())),
        }
        headers
    }

    fn render(self, _family: Family) -> Text {
        Text(self.text)
    }
}
