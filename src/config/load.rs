//! Reads the file and the environment, and gathers every problem on the way.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use toml::de::DeTable;

use super::key::{KEYS, Key};
use super::setting::Raw;
use super::{Config, check};

/// What variables of ours start with; a section and a key follow, parted by two underscores.
pub const ENVIRONMENT_PREFIX: &str = "MASKLINE__";

/// One thing that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Problem {
    /// `file:line`, or `environment`, or the name of the file for the whole of it.
    pub place: String,
    /// The key, empty when the text could not be read as TOML.
    pub key: String,
    /// What is wrong. It never holds the value of a secret.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.what)
    }
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invalid(pub Vec<Problem>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the configuration has {} problem(s):", self.0.len())?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl std::error::Error for Invalid {}

/// A configuration on its way, with what is wrong so far and where each key was set.
pub(super) struct Loading {
    pub(super) config: Config,
    pub(super) problems: Vec<Problem>,
    set_at: Vec<(String, String)>,
    file: String,
}

impl Loading {
    /// Where the key was set last: the place that has to be changed.
    pub(super) fn place(&self, path: &str) -> String {
        let set = self.set_at.iter().rev().find(|(key, _)| key == path);
        set.map_or_else(|| self.file.clone(), |(_, place)| place.clone())
    }

    fn problem(&mut self, place: String, key: impl Into<String>, what: impl Into<String>) {
        self.problems.push(Problem { place, key: key.into(), what: what.into() });
    }

    fn read(&mut self, key: &Key, raw: &Raw<'_>, place: String) {
        match (key.read)(&mut self.config, raw) {
            Ok(()) => self.set_at.push((key.path(), place)),
            Err(what) => self.problem(place, key.path(), what),
        }
    }

    /// Reads the settings of a text, and says whether it is TOML.
    fn read_file(&mut self, text: &str) -> bool {
        let (table, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let place = self.line(text, error.span().map_or(0, |span| span.start));
            self.problem(place, "", error.message().trim());
        }
        // What the reader makes of the rest is a guess, and mistakes in a guess are nobody's.
        if !errors.is_empty() {
            return false;
        }
        for (name, value) in table.get_ref() {
            let place = self.line(text, name.span().start);
            let (name, value) = (name.get_ref(), value.get_ref());
            match value.as_table() {
                Some(section) if is_section(name) => self.read_section(text, name, section),
                Some(_) if !is_key(name) => self.problem(place, name.as_ref(), no_section(name)),
                Some(_) | None => self.read_named(name.to_string(), &Raw::Toml(value), place),
            }
        }
        true
    }

    fn read_section(&mut self, text: &str, section: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            let place = self.line(text, name.span().start);
            let path = format!("{section}.{}", name.get_ref());
            self.read_named(path, &Raw::Toml(value.get_ref()), place);
        }
    }

    fn read_environment(&mut self, variables: impl Iterator<Item = (OsString, OsString)>) {
        for (name, value) in variables {
            let name = name.to_string_lossy().into_owned();
            let Some(rest) = name.strip_prefix(ENVIRONMENT_PREFIX) else { continue };
            let path = rest.to_ascii_lowercase().replace("__", ".");
            let place = format!("environment {name}");
            match value.to_str() {
                Some(value) => self.read_named(path, &Raw::Text(value), place),
                None => self.problem(place, path, "the value is not UTF-8"),
            }
        }
    }

    fn read_named(&mut self, path: String, raw: &Raw<'_>, place: String) {
        if let Some(key) = KEYS.iter().find(|key| key.path() == path) {
            return self.read(key, raw, place);
        }
        let section = path.split_once('.').map_or("", |(section, _)| section);
        let known: Vec<_> =
            KEYS.iter().filter(|key| key.section == section).map(|key| key.name).collect();
        let what = match known.as_slice() {
            [] => no_section(section),
            names => format!("there is no such key; there are {}", names.join(", ")),
        };
        self.problem(place, path, what);
    }

    fn line(&self, text: &str, offset: usize) -> String {
        let before = text.bytes().take(offset);
        format!("{}:{}", self.file, before.filter(|byte| *byte == b'\n').count() + 1)
    }

    /// The settings, or all problems: those of the file from its first line to its last one, then
    /// the others as they were found.
    fn finish(mut self) -> Result<Config, Invalid> {
        if self.problems.is_empty() {
            return Ok(self.config);
        }
        let before_line = format!("{}:", self.file);
        self.problems.sort_by_key(|problem| {
            let line = problem.place.strip_prefix(&before_line).map(str::parse);
            line.and_then(Result::ok).unwrap_or(usize::MAX)
        });
        Err(Invalid(self.problems))
    }
}

fn is_section(name: &str) -> bool {
    KEYS.iter().any(|key| key.section == name)
}

/// One that stands in no section.
fn is_key(name: &str) -> bool {
    KEYS.iter().any(|key| key.path() == name)
}

fn no_section(name: &str) -> String {
    let sections: BTreeSet<_> = KEYS.iter().map(|key| key.section).collect();
    let names: Vec<_> = sections.into_iter().filter(|section| !section.is_empty()).collect();
    format!("there is no section [{name}]; there are {}", names.join(", "))
}

/// Reads the file, then the environment, then checks the whole.
pub(super) fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (OsString, OsString)>,
) -> Result<Config, Invalid> {
    let name = file.map_or_else(|| "defaults".to_owned(), |file| file.display().to_string());
    let mut loading = Loading {
        config: Config::default(),
        problems: Vec::new(),
        set_at: Vec::new(),
        file: name.clone(),
    };
    let is_read = match file.map(std::fs::read_to_string) {
        Some(Ok(text)) => loading.read_file(&text),
        Some(Err(error)) => {
            loading.problem(name, "", format!("cannot be read: {error}"));
            false
        }
        None => true,
    };
    loading.read_environment(environment);
    // What fits together cannot be told as long as a part of it is missing.
    if is_read {
        check::check(&mut loading);
    }
    loading.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Listeners;
    use crate::domain::purpose::Purpose;

    fn in_file(text: &str) -> Result<Config, Invalid> {
        with_environment(text, &[])
    }

    fn with_environment(text: &str, environment: &[(&str, &str)]) -> Result<Config, Invalid> {
        let mut loading = Loading {
            config: Config::default(),
            problems: Vec::new(),
            set_at: Vec::new(),
            file: "a.toml".to_owned(),
        };
        let is_read = loading.read_file(text);
        loading
            .read_environment(environment.iter().map(|(name, value)| (name.into(), value.into())));
        if is_read {
            check::check(&mut loading);
        }
        loading.finish()
    }

    fn problems(text: &str) -> Vec<String> {
        in_file(text).expect_err("problems").0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn the_shipped_file_explains_every_key_and_says_the_defaults() {
        let shipped = include_str!("../../config/maskline.toml");
        assert_eq!(in_file(shipped), Ok(Config::default()));
        let body = shipped.split_once("\n\n").expect("a heading").1;
        assert_eq!(body, Config::default().dump(), "maskline config dump gives the wanted text");
    }

    #[test]
    fn the_file_for_development_is_valid() {
        in_file(include_str!("../../config/maskline.dev.toml")).expect("a valid file");
    }

    #[test]
    fn the_settings_of_compose_are_valid_and_lead_to_its_database() {
        let compose = include_str!("../../compose.yaml");
        let example = include_str!("../../.env.example");
        let mut text = compose.to_owned();
        while let Some((before, rest)) = text.split_once("${") {
            let (variable, after) = rest.split_once('}').expect("an end");
            let name = variable.split_once(':').map_or(variable, |(name, _)| name);
            let is_named = example.lines().any(|line| line.starts_with(&format!("{name}=")));
            assert!(is_named, ".env.example has no {name}");
            let value = if variable.contains(":-") { "" } else { "secret" };
            text = format!("{before}{value}{after}");
        }
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        let pairs: Vec<_> = pairs.map(|(name, value)| (name.trim(), value.trim())).collect();
        let lines = || pairs.iter().copied();
        let ours: Vec<_> = lines().filter(|(name, _)| name.starts_with("MASKLINE__")).collect();
        assert!(ours.len() > 1, "{ours:?}");
        let config = with_environment("", &ours).expect("valid settings");

        let of = |name: &str| lines().find(|line| line.0 == name).expect("a line").1;
        let (_, port) = of("ports").trim_end_matches("\"]").rsplit_once(':').expect("a port");
        let (password, database) = (of("POSTGRES_PASSWORD"), of("POSTGRES_DB"));
        let url = format!("postgres://postgres:{password}@127.0.0.1:{port}/{database}");
        assert_eq!(config.database.url.expect("a URL").expose(), url);
        let grace = of("stop_grace_period").trim_end_matches('s').parse::<u64>();
        assert!(grace.expect("seconds") > config.drain_timeout.as_secs(), "calls are cut off");
    }

    #[test]
    fn all_mistakes_are_reported_at_once_with_file_line_and_key() {
        let found = problems(
            "drain_timeout = 300\ncolour = 1\n[sip]\nlisten = \"here\"\ncalls_max = \"many\"\n\
             lisen = \"0.0.0.0:1\"\n[media]\nports = \"30000-20000\"\n[speech]\nrate = 1\n\
             [menu]\ntimeout = \"1h\"\n",
        );
        let starts = [
            "a.toml:1: drain_timeout: expected text",
            "a.toml:2: colour: there is no such key",
            "a.toml:4: sip.listen: expected address:port",
            "a.toml:5: sip.calls_max: expected a whole number",
            "a.toml:6: sip.lisen: there is no such key; there are listen, advertise",
            "a.toml:8: media.ports: ",
            "a.toml:9: speech: there is no section [speech]; there are admin, api, ",
            "a.toml:12: menu.timeout: must be between",
        ];
        assert_eq!(found.len(), starts.len(), "{found:#?}");
        for (problem, start) in found.iter().zip(starts) {
            assert!(problem.starts_with(start), "{start}: {found:#?}");
        }
    }

    #[test]
    fn broken_toml_is_reported_with_its_line_and_nothing_else() {
        for broken in ["[sip]\nlisten = \n", "[sip]\nlisten\n[speech]\n", "[sip]\ncalls_max = 0x\n"]
        {
            let found = problems(broken);
            assert!(found.iter().all(|problem| problem.starts_with("a.toml:2: ")), "{found:?}");
        }
    }

    #[test]
    fn the_environment_overrides_the_file_and_is_named_in_problems() {
        let file = "[sip]\ncalls_max = 10\n";
        let config = with_environment(file, &[("MASKLINE__SIP__CALLS_MAX", "20")]);
        assert_eq!(config.expect("valid").sip.calls_max, 20);
        let invalid = with_environment(file, &[("MASKLINE__SIP__CALLS_MAX", "-1")]);
        assert_eq!(
            invalid.expect_err("a problem").0.first().map(|problem| problem.place.clone()),
            Some("environment MASKLINE__SIP__CALLS_MAX".to_owned())
        );
        let unknown = with_environment("", &[("MASKLINE__SIP__COLOUR", "red")]);
        assert_eq!(unknown.expect_err("a problem").0.len(), 1);
        let unknown = with_environment("", &[("MASKLINE__SOUP__COLOUR", "red")]);
        let told = unknown.expect_err("a problem").to_string();
        assert!(told.contains("there is no section [soup]; there are admin, api, "), "{told}");
    }

    #[test]
    fn a_password_is_neither_dumped_nor_debugged_nor_named_in_a_problem() {
        let config = in_file("[database]\nurl = \"postgres://u:hunter2@h/d\"\n").expect("valid");
        assert!(!config.dump().contains("hunter2"));
        assert!(!format!("{config:?}").contains("hunter2"));
        let invalid = in_file("[database]\nurl = \"hunter2\"\n").expect_err("not a URL");
        assert!(!invalid.to_string().contains("hunter2"));
    }

    #[test]
    fn clashing_addresses_are_reported() {
        let clash = "[admin]\nlisten = \"127.0.0.1:8080\"\n[sip]\nlisten = \"0.0.0.0:20010\"\n";
        let found = problems(clash);
        assert!(found.iter().any(|text| text.starts_with("a.toml:2: admin.listen")), "{found:?}");
        assert!(found.iter().any(|text| text.starts_with("a.toml:4: sip.listen")), "{found:?}");
    }

    #[test]
    fn listeners_are_one_address_or_a_list_and_round_trip() {
        let one = in_file("[sip]\nlisten = \"192.0.2.1:5060\"\n").expect("valid");
        assert_eq!(one.sip.listen, Listeners::udp("192.0.2.1:5060".parse().expect("an address")));
        let text = "[sip]\nlisten = [\"udp:0.0.0.0:5060\", \"tcp:[::]:5060\", \
                    \"tls:0.0.0.0:5061\"]\n\
                    tls_certificate = \"c.pem\"\ntls_key = \"k.pem\"\n";
        let config = in_file(text).expect("valid");
        let shown: Vec<_> = config.sip.listen.0.iter().map(|it| it.address.to_string()).collect();
        assert_eq!(shown, ["0.0.0.0:5060", "[::]:5060", "0.0.0.0:5061"]);
        assert_eq!(in_file(&config.dump()), Ok(config.clone()));
        let list = "0.0.0.0:5060, tcp:[::]:5060,tls:0.0.0.0:5061";
        let same = with_environment(
            "",
            &[
                ("MASKLINE__SIP__LISTEN", list),
                ("MASKLINE__SIP__TLS_CERTIFICATE", "c.pem"),
                ("MASKLINE__SIP__TLS_KEY", "k.pem"),
            ],
        );
        assert_eq!(same.map(|same| same.sip), Ok(config.sip));
    }

    #[test]
    fn the_other_media_address_is_of_the_other_family_and_of_sockets_of_both() {
        let with = |media: &str| {
            let text = format!("[sip]\nadvertise = \"192.0.2.1\"\n[media]\n{media}");
            let Err(Invalid(found)) = in_file(&text) else { return 0 };
            found.iter().filter(|it| it.to_string().contains("media.advertise_other")).count()
        };
        let both = "bind = \"::\"\nadvertise_other = ";
        assert_eq!(with(&format!("{both}\"2001:db8::1\"\n")), 0);
        assert_eq!(with(&format!("{both}\"192.0.2.2\"\n")), 1);
        assert_eq!(with(&format!("{both}\"::\"\n")), 1);
        assert_eq!(with("advertise_other = \"2001:db8::1\"\n"), 1);
        let turned = "advertise = \"2001:db8::1\"\n";
        assert_eq!(with(&format!("{turned}{both}\"192.0.2.2\"\n")), 0);
        assert_eq!(with(&format!("{turned}{both}\"2001:db8::2\"\n")), 1);
    }

    #[test]
    fn wrong_listeners_are_reported_with_file_and_key() {
        for (listen, what) in [
            ("\"sctp:0.0.0.0:5060\"", "expected address:port behind udp:"),
            ("[\"tcp:0.0.0.0:5060\"]", "must hold one UDP address, or one of IPv4 and one of IPv6"),
            ("[\"192.0.2.1:5060\", \"192.0.2.2:5060\"]", "must hold one UDP address, or"),
            ("[\"0.0.0.0:5060\", \"tcp:0.0.0.0:5060\", \"tls:192.0.2.1:5060\"]", "are the same"),
            ("[\"0.0.0.0:5060\", \"tcp:127.0.0.1:8080\"]", "is that of api.listen"),
            ("[\"0.0.0.0:5060\", 5061]", "found a whole number"),
        ] {
            let found = problems(&format!("[sip]\nlisten = {listen}\n"));
            let is_named = |text: &String| text.starts_with("a.toml:2: sip.listen: ");
            assert!(found.iter().any(|it| is_named(it) && it.contains(what)), "{found:?}");
        }
        let found = problems("[sip]\nlisten = [\"0.0.0.0:5060\", \"tls:0.0.0.0:5061\"]\n");
        assert!(found.iter().any(|text| text.contains("sip.tls_certificate")), "{found:?}");
    }

    #[test]
    fn every_duration_round_trips() {
        let text = "[sip]\nring_timeout = \"90s\"\nfailover_timeout = \"1500ms\"\n";
        let config = in_file(text).expect("valid");
        assert_eq!(config.sip.failover_timeout.as_millis(), 1_500);
        assert_eq!(in_file(&config.dump()), Ok(config));
    }

    #[test]
    fn recordings_are_announced_and_have_a_folder() {
        let folder = "[recording]\nfolder = \"/var/lib/recordings\"\n";
        let found = in_file(&format!("{folder}purposes = \"claim, marketing,claim\"\n"));
        let purposes = found.expect("valid").recording.purposes;
        assert_eq!(purposes.0, [Purpose::Claim, Purpose::Marketing]);
        let all = in_file(&format!("{folder}purposes = \"all\"\n")).expect("valid");
        assert_eq!(all.recording.purposes.0.len(), Purpose::ALL.len() + 1);
        let wrong = [
            "[recording]\npurposes = \"all\"\n".to_owned(),
            format!("{folder}purposes = \"claims\"\n"),
            format!("{folder}retention = \"for ever\"\n"),
            format!("{folder}purposes = \"all\"\n[whisper]\nmode = \"off\"\n"),
            format!("{folder}purposes = \"claim\"\nrequired = \"claim, survey\"\n"),
        ];
        for text in wrong {
            let found = problems(&text);
            assert!(found.len() == 1 && found[0].contains("recording."), "{text}: {found:?}");
        }
    }

    #[test]
    fn caps_are_a_number_for_each_kind_of_subject_that_has_one() {
        let of = |text: &str| in_file(&format!("[caps]\ncalls_max = \"{text}\"\n"));
        let limits = |text: &str| of(text).expect("valid").caps.calls_max.0;
        assert_eq!(limits("subscriber 1, number  20"), [Some(20), None, None, Some(1)]);
        assert_eq!(limits("tenant 500,agent 0"), [None, Some(0), Some(500), None]);
        assert_eq!(limits(""), [None; 4]);
        let shown = of("tenant 500, number 2").expect("valid").dump();
        assert!(shown.contains("calls_max = \"number 2, tenant 500\""), "{shown}");
        for wrong in ["2", "agent", "call 3", "agent -1", "agent 1, agent 2", "agent 1 tenant 2"] {
            assert!(of(wrong).is_err(), "{wrong}");
        }
    }
}
