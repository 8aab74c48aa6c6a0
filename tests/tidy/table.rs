//! Who may name what: the table of the architecture as data, and the lists of exceptions.

/// What a module may name: modules of this crate (a path such as `relay::handle` allows only that
/// part) and packages. `std`, `core` and the module itself are always allowed.
pub(super) struct Layer {
    pub(super) module: &'static str,
    pub(super) modules: &'static [&'static str],
    pub(super) packages: &'static [&'static str],
    /// No clock, no chance, no I/O, no async.
    pub(super) pure: bool,
}

const fn pure(
    module: &'static str,
    modules: &'static [&'static str],
    packages: &'static [&'static str],
) -> Layer {
    Layer { module, modules, packages, pure: true }
}

/// The table of the architecture. A module that is not listed (`app`, `cli`, `config`, `main`,
/// `telemetry`) joins the others and may name anything.
pub(super) const LAYERS: &[Layer] = &[
    pure("domain", &[], &["zeroize"]),
    pure("sip", &[], SIP_PACKAGES),
    pure("sdp", &[], SDP_PACKAGES),
    pure("rtp", &[], MEDIA_PACKAGES),
    pure("policy", &["domain"], &["jiff", "sha2", "csv"]),
    pure("monitor", &["domain"], &["jiff", "sha2", "csv"]),
    pure("export", &["domain"], &["jiff", "sha2", "csv"]),
    pure("audit_tree", &["domain"], &["sha2"]),
    pure("prompt", &["domain", "rtp"], &["sha2"]),
    pure("call", &["domain", "policy", "prompt", "sip", "sdp", "rtp"], PACKET_PACKAGES),
    pure("phone", &["domain", "sip", "sdp", "rtp"], PACKET_PACKAGES),
    Layer {
        module: "vault",
        modules: &["domain"],
        packages: &["aws_lc_rs", "zeroize", "secrecy", "thiserror", "moka", "uuid", "base64"],
        pure: false,
    },
    Layer {
        module: "recording",
        modules: &["domain", "rtp", "vault"],
        packages: &["aws_lc_rs", "thiserror"],
        pure: false,
    },
    Layer {
        module: "store",
        modules: &["domain", "vault", "config", "telemetry"],
        packages: &[
            "sqlx",
            "tokio",
            "tokio_util",
            "jiff",
            "jiff_sqlx",
            "uuid",
            "serde",
            "serde_json",
            "thiserror",
            "tracing",
            "metrics",
            "moka",
            "rustix",
            "secrecy",
            "zeroize",
            "base64",
            "aws_lc_rs",
            "bytes",
        ],
        pure: false,
    },
    Layer { module: "media", modules: ENGINE_MODULES, packages: ENGINE_PACKAGES, pure: false },
    Layer { module: "relay", modules: ENGINE_MODULES, packages: ENGINE_PACKAGES, pure: false },
    Layer { module: "jobs", modules: ENGINE_MODULES, packages: JOB_PACKAGES, pure: false },
    Layer { module: "api", modules: HTTP_MODULES, packages: HTTP_PACKAGES, pure: false },
    Layer { module: "console", modules: HTTP_MODULES, packages: HTTP_PACKAGES, pure: false },
];

pub(super) const PACKET_PACKAGES: &[&str] =
    &["bytes", "memchr", "itoa", "rand_core", "rand_chacha", "slab", "hashbrown", "thiserror"];
/// Keys of encrypted media are written in base64, and wiped.
const SDP_PACKAGES: &[&str] =
    &["memchr", "itoa", "rand_core", "rand_chacha", "thiserror", "base64", "zeroize"];
/// The messages of the media plane cross from one process to another.
/// Encrypted media is a library's, with the ciphers of the one provider.
const MEDIA_PACKAGES: &[&str] = &[
    "rand_core",
    "rand_chacha",
    "thiserror",
    "serde",
    "zeroize",
    "bytes",
    "rtc_srtp",
    "aws_lc_rs",
];
/// The hashes are for digest authentication; nothing else may use them.
pub(super) const SIP_PACKAGES: &[&str] = &[
    "bytes",
    "memchr",
    "itoa",
    "rand_core",
    "rand_chacha",
    "slab",
    "hashbrown",
    "thiserror",
    "md5",
    "sha2",
];
pub(super) const ENGINE_MODULES: &[&str] = &[
    "domain",
    "policy",
    "monitor",
    "export",
    "audit_tree",
    "call",
    "sip",
    "sdp",
    "rtp",
    "phone",
    "prompt",
    "vault",
    "recording",
    "store",
    "media",
    "relay",
    "config",
    "telemetry",
];
pub(super) const ENGINE_PACKAGES: &[&str] = &[
    "tokio",
    "tokio_util",
    "rustix",
    "libc",
    "socket2",
    "rustls",
    "hickory_resolver",
    "bytes",
    "slab",
    "hashbrown",
    "arc_swap",
    "moka",
    "hound",
    "metrics",
    "tracing",
    "thiserror",
    "rand_core",
    "rand_chacha",
    "aws_lc_rs",
    "jiff",
    "uuid",
    "serde",
    "serde_json",
    "postcard",
    "zeroize",
    "memchr",
];
/// Webhooks are sent by the HTTP client, and signed in base64.
const JOB_PACKAGES: &[&str] = &[
    "tokio",
    "tokio_util",
    "hickory_resolver",
    "reqwest",
    "metrics",
    "tracing",
    "thiserror",
    "aws_lc_rs",
    "base64",
    "jiff",
    "serde_json",
    "zeroize",
];
pub(super) const HTTP_MODULES: &[&str] = &[
    "domain",
    "policy",
    "monitor",
    "vault",
    "recording",
    "store",
    "relay::handle",
    "config",
    "telemetry",
];
pub(super) const HTTP_PACKAGES: &[&str] = &[
    "axum",
    "tower",
    "tower_http",
    "utoipa",
    "utoipa_axum",
    "utoipa_swagger_ui",
    "serde",
    "serde_json",
    "serde_path_to_error",
    "sfv",
    "futures_util",
    "tokio",
    "tokio_util",
    "tracing",
    "metrics",
    "jiff",
    "uuid",
    "thiserror",
    "base64",
    "aws_lc_rs",
    "secrecy",
    "bytes",
    "csv",
    "governor",
    "moka",
    "zeroize",
];

/// Where a real number may be read in clear, or a module that defines the way to do so.
pub(super) const REVEAL_FILES: &[&str] =
    &["src/domain/number.rs", "src/vault/", "src/call/b_invite.rs"];
/// Where SQL may be put together at run time.
pub(super) const SQL_SAFE_FILES: &[&str] = &[
    "src/store/database.rs",
    "src/store/migrate.rs",
    "tests/store/",
    "tests/support/",
    "tests/tidy",
];
/// Words that pure code may not contain outside its tests.
pub(super) const IMPURE_WORDS: &[&str] = &[
    "Instant::now",
    "SystemTime::now",
    ".elapsed()",
    "Timestamp::now",
    "Zoned::now",
    "now_v7",
    "thread_rng",
    "OsRng",
    "getrandom",
    "from_entropy",
    "from_os_rng",
    "RandomState",
    "async fn",
    ".await",
    "std::fs",
    "std::io::",
    "std::process",
    "std::env",
    "std::thread",
    "UdpSocket",
    "TcpStream",
    "TcpListener",
    "println!",
    "static mut",
    "thread_local!",
];
/// The fictitious range for subscribers' numbers in tests and documents.
pub(super) const FICTITIOUS_REAL: &str = "1380000";
/// The made-up range for virtual numbers that look like mobile numbers.
pub(super) const FICTITIOUS_VIRTUAL: &str = "1700000";
