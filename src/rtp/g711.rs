//! G.711: its two laws, as tables made while this is compiled.

/// Which of the two laws.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Law {
    /// A-law, PCMA.
    A,
    /// µ-law, PCMU.
    Mu,
}

impl Law {
    /// The law of a codec by its position in the call's list; the first two are G.711.
    #[must_use]
    pub const fn at_position(position: usize) -> Option<Self> {
        match position {
            0 => Some(Self::A),
            1 => Some(Self::Mu),
            _ => None,
        }
    }

    /// The position in the call's codec list.
    #[must_use]
    pub const fn position(self) -> usize {
        match self {
            Self::A => 0,
            Self::Mu => 1,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::Mu,
            Self::Mu => Self::A,
        }
    }

    /// The byte of silence.
    #[must_use]
    pub const fn silence(self) -> u8 {
        match self {
            Self::A => A_LAW_SILENCE,
            Self::Mu => 0xff,
        }
    }

    /// Rewrites bytes of this law as bytes of the other, in place.
    pub fn turn(self, bytes: &mut [u8]) {
        let table = match self {
            Self::A => &A_TO_MU,
            Self::Mu => &MU_TO_A,
        };
        for byte in bytes {
            *byte = table[usize::from(*byte)];
        }
    }

    /// The 16-bit sample of a byte.
    #[must_use]
    pub const fn decode(self, byte: u8) -> i16 {
        let table = match self {
            Self::A => &A_SAMPLES,
            Self::Mu => &MU_SAMPLES,
        };
        table[byte as usize]
    }
}

/// Silence in A-law.
pub const A_LAW_SILENCE: u8 = 0xd5;

/// A-law of a 16-bit sample.
#[must_use]
pub const fn encode_a_law(sample: i16) -> u8 {
    let (sign, magnitude) =
        if sample < 0 { (0, !sample as u16 >> 4) } else { (0x80, sample as u16 >> 4) };
    // Eleven bits. The first segment is linear and as wide as the second.
    let code = if magnitude < 32 {
        magnitude as u8
    } else {
        let segment = 12 - magnitude.leading_zeros() as u16;
        ((segment << 4) | ((magnitude >> (segment - 1)) & 15)) as u8
    };
    (code | sign) ^ 0x55
}

const fn decode_a_law(byte: u8) -> i16 {
    let code = byte ^ 0x55;
    let segment = (code >> 4) & 7;
    let step = ((code & 15) as i16) << 4;
    let magnitude = match segment {
        0 => step + 8,
        _ => (step + 0x108) << (segment - 1),
    };
    if code & 0x80 == 0 { -magnitude } else { magnitude }
}

const fn encode_mu_law(sample: i16) -> u8 {
    let magnitude = if sample == i16::MIN { i16::MAX } else { sample.abs() };
    let limited = if magnitude > MU_CLIP { MU_CLIP } else { magnitude };
    let biased = (limited + MU_BIAS) as u16;
    let segment = 8 - biased.leading_zeros() as u16;
    let code = ((segment << 4) | ((biased >> (segment + 3)) & 15)) as u8;
    !(if sample < 0 { code | 0x80 } else { code })
}

const fn decode_mu_law(byte: u8) -> i16 {
    let code = !byte;
    let segment = (code >> 4) & 7;
    let magnitude = ((((code & 15) as i16) << 3) + MU_BIAS) << segment;
    if code & 0x80 == 0 { magnitude - MU_BIAS } else { MU_BIAS - magnitude }
}

const MU_BIAS: i16 = 0x84;
const MU_CLIP: i16 = 32_635;

static A_SAMPLES: [i16; 256] = samples(Law::A);
static MU_SAMPLES: [i16; 256] = samples(Law::Mu);
static A_TO_MU: [u8; 256] = turned(Law::A);
static MU_TO_A: [u8; 256] = turned(Law::Mu);

const fn samples(law: Law) -> [i16; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match law {
            Law::A => decode_a_law(byte as u8),
            Law::Mu => decode_mu_law(byte as u8),
        };
        byte += 1;
    }
    table
}

const fn turned(law: Law) -> [u8; 256] {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = match law {
            Law::A => encode_mu_law(decode_a_law(byte as u8)),
            Law::Mu => encode_a_law(decode_mu_law(byte as u8)),
        };
        byte += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_is_the_code_of_its_sample() {
        for byte in 0..=255 {
            assert_eq!(encode_a_law(decode_a_law(byte)), byte, "A-law {byte:#x}");
            // µ-law has two zeros.
            let again = encode_mu_law(decode_mu_law(byte));
            assert!(again == byte || byte == 0x7f, "µ-law {byte:#x} becomes {again:#x}");
        }
    }

    #[test]
    fn the_codes_are_those_of_the_standard() {
        // G.711 tables 1 and 2: the ends of the scale, silence, and the sample values there.
        assert_eq!([0xaa, 0x2a, 0xd5, 0x55].map(decode_a_law), [32_256, -32_256, 8, -8]);
        assert_eq!([0x80, 0x00, 0xff, 0xf0].map(decode_mu_law), [32_124, -32_124, 0, 120]);
        assert_eq!([0, i16::MAX, i16::MIN].map(encode_a_law), [0xd5, 0xaa, 0x2a]);
        assert_eq!([0, i16::MAX, i16::MIN].map(encode_mu_law), [0xff, 0x80, 0x00]);
    }

    #[test]
    fn both_laws_say_nearly_the_same_sample() {
        for sample in (-32_000..32_000).step_by(7) {
            for back in [decode_a_law(encode_a_law(sample)), decode_mu_law(encode_mu_law(sample))] {
                let step = 16 + i32::from(sample.abs()) / 16;
                let error = (i32::from(back) - i32::from(sample)).abs();
                assert!(error <= step, "{sample} becomes {back}");
            }
        }
    }

    #[test]
    fn turning_keeps_the_sound_and_silence_stays_silence() {
        for law in [Law::A, Law::Mu] {
            for byte in 0..=255 {
                let mut turned = [byte];
                law.turn(&mut turned);
                let (from, to) = (law.decode(byte), law.other().decode(turned[0]));
                let step = 16 + i32::from(from).abs() / 16;
                assert!((i32::from(to) - i32::from(from)).abs() <= step, "{from} becomes {to}");
            }
            let mut silence = [law.silence()];
            law.turn(&mut silence);
            assert!(law.other().decode(silence[0]).abs() <= 8);
        }
    }
}
