//! Folders of sounds, good and bad.

use super::*;
use crate::rtp::g711::Law;
use crate::rtp::sound::{Playlist, Step};

/// A folder of its own that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("maskline-sounds-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).expect("a folder");
        Self(path)
    }

    fn write(&self, file: &str, bytes: &[u8]) {
        let path = self.0.join(file);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::write(path, bytes).expect("a file");
    }

    /// What is wrong, as `file: what`.
    fn mistakes(&self) -> Vec<String> {
        let invalid = Library::load(Some(&self.0)).expect_err("mistakes");
        let file = |mistake: &Mistake| {
            mistake.file.strip_prefix(&self.0).expect("in the folder").display().to_string()
        };
        invalid.mistakes.iter().map(|it| format!("{}: {}", file(it), it.what)).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn wav(rate: u32, channels: u16, samples: &[i16]) -> Vec<u8> {
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: 16,
        sample_format: hound::SampleFormat::Int,
    };
    let mut bytes = Cursor::new(Vec::new());
    let mut writer = hound::WavWriter::new(&mut bytes, spec).expect("a header");
    samples.iter().for_each(|sample| writer.write_sample(*sample).expect("a sample"));
    writer.finalize().expect("a file");
    bytes.into_inner()
}

const VOICE: Voice = Voice { language: Language::English, slow: false };
const SLOW: Voice = Voice { slow: true, ..VOICE };
const TENANT: &str = "ten_00000000000000000000000000000007";

#[test]
fn every_clip_of_every_voice_is_built_in() {
    let library = Library::built_in();
    for voice in Voice::ALL {
        for clip in Clip::ALL {
            assert_eq!(library.sounds.clip(clip.id(voice)), Some(clip.built_in(voice)));
        }
    }
    assert_eq!(Library::load(None), Ok(library));
}

#[test]
fn a_folder_puts_its_sounds_in_the_place_of_ours() {
    let folder = Folder::new("replace");
    folder.write("en/hello.wav", &wav(8_000, 1, &[0, 1_000, -1_000, 32_000]));
    folder.write("zh-CN/slow/hello.al", &[0x55, 0xd5]);
    folder.write(".hidden", b"left alone");
    let library = Library::load(Some(&folder.0)).expect("a good folder");
    assert_eq!(library.replaced, 2);
    let hello = library.sounds.clip(Clip::Hello.id(VOICE)).expect("a clip");
    let heard: Vec<_> = hello.iter().map(|byte| Law::A.decode(*byte)).collect();
    for (heard, written) in heard.iter().zip([0, 1_000, -1_000, 32_000]) {
        assert!((i32::from(*heard) - written).abs() <= written.abs() / 16 + 8, "{heard}");
    }
    // Better the tenant's voice at its usual pace than two voices in one sentence.
    assert_eq!(library.sounds.clip(Clip::Hello.id(SLOW)), Some(hello));
    let [usual, slow, ..] = Voice::ALL;
    assert_eq!(library.sounds.clip(Clip::Hello.id(slow)), Some([0x55, 0xd5].as_slice()));
    let ours = Some(Clip::Hello.built_in(usual));
    assert_eq!(library.sounds.clip(Clip::Hello.id(usual)), ours);
}

#[test]
fn a_tenants_recording_of_its_name_is_played_for_that_tenant() {
    let folder = Folder::new("tenants");
    folder.write(&format!("tenants/{TENANT}/insurer.en.wav"), &wav(8_000, 1, &[5_000; 800]));
    let library = Library::load(Some(&folder.0)).expect("a good folder");
    let tenant = TenantId::parse(TENANT).expect("an id");
    let clip = library.insurers.find(tenant, Language::English).expect("a recording");
    assert_eq!(library.sounds.clip(clip).map(<[u8]>::len), Some(800));
    assert_eq!(library.insurers.find(tenant, Language::Chinese), None);
    assert_eq!((library.names, library.replaced), (1, 0));
}

#[test]
fn every_mistake_of_a_folder_is_reported_with_its_file() {
    let folder = Folder::new("mistakes");
    folder.write("en/hello.wav", &wav(44_100, 2, &[0; 8]));
    folder.write("en/agent.wav", b"RIFF, but not really");
    folder.write("en/busy.al", &[]);
    folder.write("en/code.al", &[0xd5; 30 * 8_000 + 1]);
    folder.write("en/good.al", &[0xd5; 8]);
    folder.write("en/insurer.mp3", b"ID3");
    folder.write("en/paused.al", &[0xd5; 8]);
    folder.write("en/paused.wav", &wav(8_000, 1, &[0; 8]));
    folder.write("en/slow/slow/hello.al", &[0xd5; 8]);
    folder.write("fr/hello.al", &[0xd5; 8]);
    folder.write("tenants/acme/insurer.en.wav", &wav(8_000, 1, &[0; 8]));
    folder.write(&format!("tenants/{TENANT}/insurer.en.wav"), &wav(8_000, 1, &[0; 80_001]));
    folder.write(&format!("tenants/{TENANT}/name.wav"), &wav(8_000, 1, &[0; 8]));
    let mistakes = folder.mistakes();
    let starts = [
        "en/agent.wav: is no WAV file of PCM",
        "en/busy.al: is empty",
        "en/code.al: is longer than 30 seconds",
        "en/good.al: there is no prompt of this name",
        "en/hello.wav: expected 8000 Hz, 1 channel, 16 bits, PCM; found 44100 Hz, 2 channels",
        "en/insurer.mp3: expected a file .wav, or .al",
        "en/paused.wav: the same prompt",
        "en/slow/slow: expected a file .wav",
        "fr: expected a folder zh-CN, en or tenants",
        "tenants/acme: the name of this folder is no tenant's id",
        &format!("tenants/{TENANT}/insurer.en.wav: is longer than 10 seconds"),
        &format!("tenants/{TENANT}/name.wav: expected insurer."),
    ];
    for (found, start) in mistakes.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}: expected {start}");
    }
    assert_eq!(mistakes.len(), starts.len(), "{mistakes:#?}");
}

#[test]
fn a_folder_that_is_not_there_or_full_of_mistakes_is_reported_in_bounds() {
    let nowhere = Library::load(Some(Path::new("/nowhere/at/all"))).expect_err("no folder");
    assert!(nowhere.to_string().contains("/nowhere/at/all: cannot be read as a folder"));
    let folder = Folder::new("many");
    for number in 0..MISTAKES_MAX + 3 {
        folder.write(&format!("en/{number}.al"), &[0xd5]);
    }
    assert_eq!(folder.mistakes().len(), MISTAKES_MAX);
    let invalid = Library::load(Some(&folder.0)).expect_err("mistakes");
    assert!(invalid.to_string().starts_with("media.prompts has 53 problem(s):"), "{invalid}");
}

#[test]
fn the_proof_of_what_was_said_follows_the_sound_and_not_the_place_of_its_file() {
    let other = TenantId::from_u128(1);
    let tenant = TenantId::from_u128(2);
    let said = |names: &[(TenantId, u8)]| {
        let folder = Folder::new("proof");
        for (tenant, level) in names {
            folder.write(&format!("tenants/{tenant}/insurer.en.al"), &[*level; 800]);
        }
        let library = Library::load(Some(&folder.0)).expect("usable");
        let clip = library.insurers.find(tenant, Language::English).expect("a recording");
        let mut playlist = Playlist::new();
        playlist.push(Step::Clip(clip)).expect("room");
        library.hashes.of(&playlist)
    };
    let alone = said(&[(tenant, 0x55)]);
    assert_eq!(said(&[(other, 0x66), (tenant, 0x55)]), alone, "its number is another one");
    assert_ne!(said(&[(tenant, 0x66)]), alone);
}
