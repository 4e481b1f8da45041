use std::collections::BTreeMap;

use serde_json::Value;

/// The payload format that a reply must have.
#[derive(Debug, Clone, Copy)]
pub enum Format {
    Rest,
    Http,
}

/// What a client would have got from the gateway.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Value,
    pub text: String,
}

impl Reply {
    /// Reads a function's response as the gateway does; whatever it would turn into a 502 panics. A `strict` reader also wants no member
    /// more than there must be.
    pub fn read(response: &[u8], format: Format, strict: bool) -> Self {
        let response: Value = serde_json::from_slice(response).expect("the response is JSON");
        // API Gateway takes an unknown member for a malformed response; format 2.0 has cookies, and the watcher insists on them.
        let members: Vec<_> = response.as_object().unwrap().keys().map(String::as_str).collect();
        let wanted: &[&str] = match format {
            Format::Rest => &["body", "headers", "isBase64Encoded", "statusCode"],
            Format::Http => &["body", "cookies", "headers", "isBase64Encoded", "statusCode"],
        };
        assert!(!strict || members == wanted, "{members:?}");
        let headers = response["headers"].as_object().expect("the response has headers");
        let text = response["body"].as_str().expect("the body is text").to_owned();
        Self {
            status: response["statusCode"]
                .as_u64()
                .expect("the response has a status")
                .try_into()
                .unwrap(),
            headers: headers
                .iter()
                .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                .collect(),
            body: serde_json::from_str(&text).unwrap_or_default(),
            text,
        }
    }

    /// Checks the status and hands on the reply.
    #[track_caller]
    pub fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text);
        self
    }

    /// Checks that this is an error with `status` and `code` in the envelope that every error has.
    #[track_caller]
    pub fn expect_error(self, status: u16, code: &str) -> Self {
        assert_eq!(
            (self.status, self.body["code"].as_str()),
            (status, Some(code)),
            "{}",
            self.text
        );
        let text = self.body["detail"].as_str().expect("an error has a text");
        assert!(!text.is_empty());
        assert_eq!(self.body["error"], text);
        assert_eq!(self.body["message"], text);
        assert_eq!(self.body["request_id"].as_str(), Some(self.header("x-request-id")));
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.headers.contains_key("www-authenticate"), status == 401);
        self
    }

    /// A header that must be there.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .unwrap_or_else(|| panic!("no header {name} in {:?}", self.headers))
    }

    /// A text member that must be there.
    #[track_caller]
    pub fn text_of(&self, member: &str) -> String {
        self.body[member]
            .as_str()
            .unwrap_or_else(|| panic!("no text {member} in {}", self.text))
            .to_owned()
    }
}
