//! Event streams as Bedrock sends them.
//!
//! The format is that of <https://smithy.io/2.0/aws/amazon-eventstream.html>: lengths, headers, a payload and two checksums.

use serde_json::Value;

/// An event, such as `contentBlockDelta`.
pub fn event(name: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[
            (":message-type", "event"),
            (":event-type", name),
            (":content-type", "application/json"),
        ],
        payload.to_string().as_bytes(),
    )
}

/// A modelled exception in the middle of a stream, such as `throttlingException`.
pub fn exception(name: &str, payload: &Value) -> Vec<u8> {
    frame(
        &[
            (":message-type", "exception"),
            (":exception-type", name),
            (":content-type", "application/json"),
        ],
        payload.to_string().as_bytes(),
    )
}

/// An error that no model describes.
pub fn error(code: &str, message: &str) -> Vec<u8> {
    frame(
        &[
            (":message-type", "error"),
            (":error-code", code),
            (":error-message", message),
        ],
        &[],
    )
}

fn frame(headers: &[(&str, &str)], payload: &[u8]) -> Vec<u8> {
    let mut encoded = Vec::new();
    for (name, value) in headers {
        encoded.push(u8::try_from(name.len()).unwrap());
        encoded.extend(name.as_bytes());
        // A string, whose length is two bytes.
        encoded.push(7);
        encoded.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        encoded.extend(value.as_bytes());
    }
    // The prelude of two lengths and its checksum are 12 bytes, the checksum of the whole is 4.
    let total = 12 + encoded.len() + payload.len() + 4;
    let mut frame = Vec::with_capacity(total);
    frame.extend(u32::try_from(total).unwrap().to_be_bytes());
    frame.extend(u32::try_from(encoded.len()).unwrap().to_be_bytes());
    frame.extend(crc32(&frame).to_be_bytes());
    frame.extend(encoded);
    frame.extend(payload);
    frame.extend(crc32(&frame).to_be_bytes());
    frame
}

/// The checksum of gzip and Ethernet.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xedb8_8320 * (crc & 1)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another encoder makes of the same, which Amazon's own SDKs read.
    #[test]
    fn a_frame_has_its_lengths_and_checksums_where_others_have_them() {
        let other = b"\0\0\0w\0\0\0R\xab\xb5\xd3n\r:message-type\x07\0\x05event\x0b:event-type\x07\0\x0cmessageStart\
            \r:content-type\x07\0\x10application/json{\"role\": \"assistant\"}\xc1,\x0f8";
        let headers = [
            (":message-type", "event"),
            (":event-type", "messageStart"),
            (":content-type", "application/json"),
        ];
        assert_eq!(frame(&headers, br#"{"role": "assistant"}"#), other);
    }
}
