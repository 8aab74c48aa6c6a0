//! The ciphers and the hash of SRTP for the library, by the one provider of the whole program.

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use rtc_srtp::crypto::{
    BlockCipherAlgorithm, CryptoAlgorithm, CryptoError, HmacAlgorithm, Mac, RTCCrypto,
    StreamCipher, StreamCipherAlgorithm,
};

/// AES in counter mode and HMAC-SHA1.
pub(super) struct Primitives;

impl RTCCrypto for Primitives {
    fn supports(&self, algorithm: CryptoAlgorithm) -> bool {
        matches!(
            algorithm,
            CryptoAlgorithm::BlockCipher(
                BlockCipherAlgorithm::Aes128 | BlockCipherAlgorithm::Aes256
            ) | CryptoAlgorithm::StreamCipher(
                StreamCipherAlgorithm::Aes128Ctr | StreamCipherAlgorithm::Aes256Ctr
            ) | CryptoAlgorithm::Hmac(HmacAlgorithm::Sha1)
        )
    }

    /// One block is the first one of the key stream that begins with it.
    fn block_encrypt(
        &self,
        _: BlockCipherAlgorithm,
        key: &[u8],
        block: &mut [u8],
    ) -> Result<(), CryptoError> {
        let start: [u8; BLOCK_BYTES] = (&*block).try_into().map_err(|_| unusable())?;
        block.fill(0);
        Counter::new(key)?.apply_keystream(&start, block)
    }

    fn new_hmac(&self, _: HmacAlgorithm, key: &[u8]) -> Result<Box<dyn Mac>, CryptoError> {
        Ok(Box::new(Tag(hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key))))
    }

    fn new_stream_cipher(
        &self,
        _: StreamCipherAlgorithm,
        key: &[u8],
    ) -> Result<Box<dyn StreamCipher>, CryptoError> {
        Ok(Box::new(Counter::new(key)?))
    }
}

struct Counter(EncryptingKey);

impl Counter {
    fn new(key: &[u8]) -> Result<Self, CryptoError> {
        let algorithm = if key.len() == KEY_128_BYTES { &AES_128 } else { &AES_256 };
        let key = UnboundCipherKey::new(algorithm, key).map_err(|_| unusable())?;
        EncryptingKey::ctr(key).map(Self).map_err(|_| unusable())
    }
}

impl StreamCipher for Counter {
    fn apply_keystream(&mut self, iv: &[u8], data: &mut [u8]) -> Result<(), CryptoError> {
        let iv: &[u8; BLOCK_BYTES] = iv.try_into().map_err(|_| unusable())?;
        let start = EncryptionContext::Iv128(FixedLength::from(iv));
        self.0.less_safe_encrypt(data, start).map(|_| ()).map_err(|_| unusable())
    }
}

struct Tag(hmac::Key);

impl Mac for Tag {
    fn output_len(&self) -> usize {
        TAG_BYTES
    }

    fn sign(&mut self, input: &[&[u8]], output: &mut [u8]) -> Result<(), CryptoError> {
        #[cfg(test)]
        TAGS_MADE.with(|made| made.set(made.get() + 1));
        let mut context = hmac::Context::with_key(&self.0);
        for part in input {
            context.update(part);
        }
        let tag = context.sign();
        if output.len() != TAG_BYTES {
            return Err(unusable());
        }
        output.copy_from_slice(tag.as_ref());
        Ok(())
    }

    fn verify(&mut self, input: &[&[u8]], expected: &[u8]) -> Result<(), CryptoError> {
        let mut tag = [0; TAG_BYTES];
        self.sign(input, &mut tag)?;
        aws_lc_rs::constant_time::verify_slices_are_equal(&tag, expected).map_err(|_| unusable())
    }
}

#[cfg(test)]
thread_local! {
    /// Tags that were made or looked at, one for each packet.
    pub(super) static TAGS_MADE: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
}

fn unusable() -> CryptoError {
    CryptoError::Provider("unusable key or length".into())
}

const BLOCK_BYTES: usize = 16;
const KEY_128_BYTES: usize = 16;
const TAG_BYTES: usize = 20;
