//! Signatures of the Standard Webhooks scheme: `v1,` and the HMAC-SHA-256 of id, time and body.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

/// The value of `webhook-signature`: one signature by each secret, with spaces between them.
pub(super) fn sign(secrets: &[Zeroizing<Vec<u8>>], id: &str, unix_s: u64, body: &[u8]) -> String {
    let signature = |secret: &Zeroizing<Vec<u8>>| {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
        let mut context = hmac::Context::with_key(&key);
        context.update(format!("{id}.{unix_s}.").as_bytes());
        context.update(body);
        format!("v1,{}", STANDARD.encode(context.sign()))
    };
    secrets.iter().map(signature).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the scheme's own documents.
    #[test]
    fn the_signature_of_the_published_example_is_ours() {
        let secret = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let secrets = [Zeroizing::new(secret)];
        let (id, body) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", br#"{"test": 2432232314}"#);
        let signed = sign(&secrets, id, 1_614_265_330, body);
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = sign(&[secrets[0].clone(), Zeroizing::new(vec![1; 32])], id, 1, body);
        assert_eq!(both.split(' ').filter(|part| part.starts_with("v1,")).count(), 2);
    }
}
