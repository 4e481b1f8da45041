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
        assert_eq!((self.status, self.told(code)), (status, Some(code)), "{}", self.text);
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert_eq!(self.header("cache-control"), "no-store");
        assert_eq!(self.headers.contains_key("www-authenticate"), status == 401);
        assert_eq!(self.body["request_id"].as_str(), Some(self.header("x-request-id")));
        if let Some(error) = self.body["error"].as_object() {
            let members: Vec<_> = error.keys().map(String::as_str).collect();
            assert_eq!(members, ["code", "message", "param", "type"]);
            return self;
        }
        let text = self.body["detail"].as_str().expect("an error has a text");
        assert!(!text.is_empty());
        assert_eq!(self.body["error"], text);
        assert_eq!(self.body["message"], text);
        self
    }

    /// The text that this error says.
    #[track_caller]
    pub fn detail(&self) -> &str {
        let text = match self.body["error"].as_object() {
            Some(error) => error["message"].as_str(),
            None => self.body["detail"].as_str(),
        };
        text.expect("an error has a text")
    }

    /// The code that this error says, in whosever words.
    #[track_caller]
    pub fn code(&self) -> &str {
        let code = match self.body["error"].as_object() {
            Some(error) => error["code"].as_str(),
            None => self.body["code"].as_str(),
        };
        code.expect("an error has a code")
    }

    /// The member of the request that this error is about.
    pub fn member(&self) -> &Value {
        match self.body["error"].as_object() {
            Some(error) => &error["param"],
            None => &self.body["member"],
        }
    }

    /// The code that this error says; `expected` if it says that in OpenAI's words, at the door for clients of its API.
    pub fn told<'a>(&'a self, expected: &'a str) -> Option<&'a str> {
        let code = match self.body["error"].as_object() {
            Some(error) => error["code"].as_str(),
            None => return self.body["code"].as_str(),
        };
        let expected_there = match expected {
            "not_authenticated" | "bad_authorization_header" | "token_not_valid" => "invalid_api_key",
            "insufficient_tokens" | "api_key_cap_reached" => "insufficient_quota",
            "too_many_requests" | "too_many_in_flight" => "rate_limit_exceeded",
            "content_filtered" => "content_filter",
            "invalid" | "malformed" => "invalid_value",
            "unsupported" => "unsupported_value",
            same => same,
        };
        if code == Some(expected_there) {
            Some(expected)
        } else {
            code
        }
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
