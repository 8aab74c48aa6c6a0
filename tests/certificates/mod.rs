//! Certificates of the tests, made when the first test wants them: no private key lies in the
//! repository. Two roots, the relay, a PBX, a carrier, and PBXs that are not to be let in: of the
//! other root, for another purpose, and with a certificate that has ended. Many carriers have but a
//! certificate of a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, ServerAuth};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

/// Changes with what is made, so that nothing old is taken for it.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tmp/certificates-2");

/// Where they are: `relay.pem`, `relay.key`, and so on; of the roots the certificates only.
pub(crate) fn folder() -> &'static Path {
    static MADE: OnceLock<PathBuf> = OnceLock::new();
    MADE.get_or_init(|| {
        let folder = PathBuf::from(FOLDER);
        if !folder.is_dir() {
            // Test programs may run side by side: the first whole set counts.
            let own = PathBuf::from(format!("{FOLDER}.{}", std::process::id()));
            fs::create_dir_all(&own).expect("a folder for the certificates");
            make(&own);
            if fs::rename(&own, &folder).is_err() {
                fs::remove_dir_all(&own).expect("our own folder");
            }
        }
        folder
    })
}

fn make(folder: &Path) {
    let root = root(folder, "root");
    let other = self::root(folder, "other-root");
    let both = [ServerAuth, ClientAuth];
    let pbx = ["127.0.0.2", "pbx.test"];
    leaf(folder, "relay", &root, &["127.0.0.1", "::1", "relay.test"], &both);
    leaf(folder, "pbx", &root, &pbx, &both);
    leaf(folder, "carrier", &root, &["127.0.0.3", "carrier.test"], &both[..1]);
    leaf(folder, "server", &root, &pbx, &both[..1]);
    leaf(folder, "signer", &root, &pbx, &[CodeSigning]);
    leaf(folder, "ended", &root, &pbx, &both);
    leaf(folder, "impostor", &other, &pbx, &both);
}

fn root(folder: &Path, name: &str) -> Issuer<'static, KeyPair> {
    let mut terms = terms(name, &[]);
    terms.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let certificate = terms.self_signed(&key).expect("a root");
    write(folder, name, "pem", &certificate.pem());
    Issuer::new(terms, key)
}

fn leaf(
    folder: &Path,
    name: &str,
    root: &Issuer<'_, KeyPair>,
    names: &[&str],
    purposes: &[rcgen::ExtendedKeyUsagePurpose],
) {
    let mut terms = terms(name, names);
    terms.extended_key_usages = purposes.to_vec();
    if name == "ended" {
        terms.not_after = date_time_ymd(2025, 1, 1);
    }
    let key = KeyPair::generate().expect("a key");
    let certificate = terms.signed_by(&key, root).expect("a certificate");
    write(folder, name, "pem", &certificate.pem());
    write(folder, name, "key", &key.serialize_pem());
}

fn terms(name: &str, names: &[&str]) -> CertificateParams {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut terms = CertificateParams::new(names).expect("names and addresses");
    terms.distinguished_name.push(DnType::CommonName, name);
    terms.not_before = date_time_ymd(2024, 1, 1);
    terms.not_after = date_time_ymd(2124, 1, 1);
    terms
}

fn write(folder: &Path, name: &str, kind: &str, text: &str) {
    fs::write(folder.join(format!("{name}.{kind}")), text).expect("a file of the tests");
}
