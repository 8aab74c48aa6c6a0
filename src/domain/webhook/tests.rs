//! Tricks by which a URL or an address could lead to where nobody outside may send.

use super::*;

fn refused(text: &str) -> InvalidUrl {
    WebhookUrl::parse(text, Reach::default()).expect_err(text)
}

#[test]
fn a_receiver_is_a_name_in_the_open_network_behind_tls() {
    for (text, host, port) in [
        ("https://crm.example.com", "crm.example.com", 443),
        ("https://crm.example.com/hooks/maskline?tenant=7&key=a%20b", "crm.example.com", 443),
        ("https://crm.example.com:8443/", "crm.example.com", 8443),
        ("https://CRM.Example.CN?x", "CRM.Example.CN", 443),
        ("https://xn--fiqs8s.xn--fiqs8s/", "xn--fiqs8s.xn--fiqs8s", 443),
    ] {
        let url = WebhookUrl::parse(text, Reach::default()).expect(text);
        assert_eq!((url.as_str(), url.host(), url.port()), (text, host, port));
        assert_eq!(url.literal(), None);
    }
}

#[test]
fn urls_that_would_lead_inside_or_elsewhere_are_refused() {
    use InvalidUrl::*;
    for (text, why) in [
        ("http://crm.example.com/", Scheme),
        ("HTTPS://crm.example.com/", Scheme),
        ("ftp://crm.example.com/", Scheme),
        ("file:///etc/passwd", Scheme),
        ("gopher://crm.example.com/", Scheme),
        ("unix:/run/docker.sock", Scheme),
        ("//crm.example.com/", Scheme),
        (" https://crm.example.com/", Scheme),
        ("https:/crm.example.com/", Scheme),
        ("https:crm.example.com/", Scheme),
        ("https://user@crm.example.com/", UserInfo),
        ("https://crm.example.com:443@127.0.0.1/", UserInfo),
        ("https://crm.example.com%40127.0.0.1/", Host),
        ("https://crm.example.com\\@127.0.0.1/", Characters),
        ("https://127.0.0.1/", Host),
        ("https://127.1/", Host),
        ("https://127.0.0.1./", Host),
        ("https://2130706433/", Host),
        ("https://0x7f000001/", Host),
        ("https://0x7f.0.0.1/", Host),
        ("https://0177.0.0.1/", Host),
        ("https://crm.example.0x7f/", Host),
        ("https://169.254.169.254/latest/meta-data/", Host),
        ("https://8.8.8.8/", Host),
        ("https://[::1]/", Host),
        ("https://[::ffff:127.0.0.1]/", Host),
        ("https://[fe80::1%25eth0]/", Host),
        ("https://localhost/", Host),
        ("https://a.localhost/", Host),
        ("https://LOCALHOST/", Host),
        ("https://postgres/", Host),
        ("https://metadata.google.internal/", Host),
        ("https://printer.local/", Host),
        ("https://1.0.0.127.in-addr.arpa/", Host),
        ("https://crm.example.com./", Host),
        ("https://crm..example.com/", Host),
        ("https://-crm.example.com/", Host),
        ("https://①②⑦.⓪.⓪.①/", Host),
        ("https://crm\u{3002}example\u{3002}com/", Host),
        ("https://crm.example.com\t/", Host),
        ("https:///crm.example.com", Host),
        ("https://", Host),
        ("https://crm.example.com:22/", Port),
        ("https://crm.example.com:80/", Port),
        ("https://crm.example.com:5432/", Port),
        ("https://crm.example.com:0443/", Port),
        ("https://crm.example.com:+443/", Port),
        ("https://crm.example.com:65979/", Port),
        ("https://crm.example.com:/", Port),
        ("https://crm.example.com/\r\nHost: inside", Characters),
        ("https://crm.example.com/#part", Characters),
        ("https://crm.example.com/a b", Characters),
    ] {
        assert_eq!(refused(text), why, "{text}");
    }
    let long = format!("https://crm.example.com/{}", "a".repeat(URL_CHARS_MAX));
    assert_eq!(refused(&long), InvalidUrl::TooLong);
    let long = format!("https://{}example.com/", "abc.".repeat(80));
    assert_eq!(refused(&long), InvalidUrl::Host);
}

#[test]
fn a_trial_may_reach_further_if_the_settings_say_so() {
    let http = Reach { allow_http: true, allow_private: false };
    assert!(WebhookUrl::parse("http://crm.example.com:8000/", http).is_ok());
    assert_eq!(WebhookUrl::parse("http://127.0.0.1:8000/", http), Err(InvalidUrl::Host));
    let both = Reach { allow_http: true, allow_private: true };
    let url = WebhookUrl::parse("http://127.0.0.1:8000/", both).expect("allowed");
    assert_eq!((url.literal(), url.port()), (Some([127, 0, 0, 1].into()), 8000));
    let url = WebhookUrl::parse("http://[::1]/", both).expect("allowed");
    assert_eq!((url.literal(), url.port()), (Some(Ipv6Addr::LOCALHOST.into()), 80));
    assert!(WebhookUrl::parse("http://crm.localhost:8000/", both).is_ok());
    assert!(WebhookUrl::parse("http://0x7f000001:8000/", both).is_err());
}

#[test]
fn addresses_that_are_not_everybodys_are_closed() {
    for text in [
        "0.0.0.0",
        "0.1.2.3",
        "10.0.0.1",
        "10.255.255.255",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.1",
        "192.0.0.170",
        "192.0.2.1",
        "192.88.99.1",
        "192.168.0.1",
        "198.18.0.1",
        "198.19.255.255",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "::ffff:0:10.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::1",
        "100::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::a9fe:a9fe",
        "fec0::1",
        "ff02::1",
        "2001::1",
        "2001:2::1",
        "2001:10::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:a00:1::",
        "3fff::1",
        "5f00::1",
        "4000::1",
    ] {
        assert!(!is_open(text.parse().expect("an address")), "{text}");
    }
}

#[test]
fn addresses_beside_the_closed_networks_are_open() {
    for text in [
        "1.1.1.1",
        "8.8.8.8",
        "9.255.255.255",
        "11.0.0.1",
        "100.63.255.255",
        "100.128.0.1",
        "126.255.255.255",
        "128.0.0.1",
        "169.253.255.255",
        "172.15.255.255",
        "172.32.0.1",
        "192.167.255.255",
        "198.17.255.255",
        "198.20.0.1",
        "223.255.255.255",
        "2001:4860:4860::8888",
        "2400:3200::1",
        "2606:4700:4700::1111",
    ] {
        assert!(is_open(text.parse().expect("an address")), "{text}");
    }
}
