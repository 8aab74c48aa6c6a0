//! Header names we know, in long and compact form.

macro_rules! headers {
    ($($id:ident = $name:literal $(| $compact:literal)?;)+) => {
        /// A header name. The text of an [`HeaderId::Other`] stays in its message.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        #[expect(missing_docs, reason = "the variants are the header names")]
        pub enum HeaderId {
            $($id,)+
            /// Any other name.
            Other,
        }

        impl HeaderId {
            /// The long form, as we write it; `Other` has none and is never written.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$id => $name,)+
                    Self::Other => "Other",
                }
            }

            /// The usual spellings, found by one comparison of fixed length.
            fn from_usual(name: &[u8]) -> Option<Self> {
                match name {
                    $(_ if name == $name.as_bytes() => Some(Self::$id),)+
                    $($(_ if name == $compact.as_bytes() => Some(Self::$id),)?)+
                    _ => None,
                }
            }

            fn from_any_case(name: &[u8]) -> Self {
                $(
                    if name.eq_ignore_ascii_case($name.as_bytes()) {
                        return Self::$id;
                    }
                    $(if name.eq_ignore_ascii_case($compact.as_bytes()) {
                        return Self::$id;
                    })?
                )+
                Self::Other
            }
        }
    };
}

headers! {
    Via = "Via" | "v";
    From = "From" | "f";
    To = "To" | "t";
    CallId = "Call-ID" | "i";
    CSeq = "CSeq";
    MaxForwards = "Max-Forwards";
    ContentLength = "Content-Length" | "l";
    ContentType = "Content-Type" | "c";
    Contact = "Contact" | "m";
    RecordRoute = "Record-Route";
    Route = "Route";
    Allow = "Allow";
    Supported = "Supported" | "k";
    UserAgent = "User-Agent";
    Require = "Require";
    ProxyRequire = "Proxy-Require";
    Unsupported = "Unsupported";
    Accept = "Accept";
    AcceptEncoding = "Accept-Encoding";
    AcceptLanguage = "Accept-Language";
    AlertInfo = "Alert-Info";
    AllowEvents = "Allow-Events" | "u";
    AuthenticationInfo = "Authentication-Info";
    Authorization = "Authorization";
    CallInfo = "Call-Info";
    ContentDisposition = "Content-Disposition";
    ContentEncoding = "Content-Encoding" | "e";
    ContentLanguage = "Content-Language";
    Date = "Date";
    Diversion = "Diversion";
    ErrorInfo = "Error-Info";
    Event = "Event" | "o";
    Expires = "Expires";
    HistoryInfo = "History-Info";
    Identity = "Identity" | "y";
    MinExpires = "Min-Expires";
    MinSe = "Min-SE";
    Organization = "Organization";
    PAssertedIdentity = "P-Asserted-Identity";
    PPreferredIdentity = "P-Preferred-Identity";
    Priority = "Priority";
    Privacy = "Privacy";
    ProxyAuthenticate = "Proxy-Authenticate";
    ProxyAuthorization = "Proxy-Authorization";
    RAck = "RAck";
    Reason = "Reason";
    ReferTo = "Refer-To" | "r";
    ReferredBy = "Referred-By" | "b";
    RemotePartyId = "Remote-Party-ID";
    Replaces = "Replaces";
    RetryAfter = "Retry-After";
    RSeq = "RSeq";
    Server = "Server";
    SessionExpires = "Session-Expires" | "x";
    Subject = "Subject" | "s";
    Timestamp = "Timestamp";
    Warning = "Warning";
    WwwAuthenticate = "WWW-Authenticate";
}

impl HeaderId {
    /// Looks a name up, in any case and in its compact form.
    #[must_use]
    pub fn from_name(name: &[u8]) -> Self {
        match Self::from_usual(name) {
            Some(id) => id,
            None => Self::from_any_case(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_compact_and_odd_spellings_are_one_header() {
        for name in ["Via", "v", "V", "VIA", "vIa"] {
            assert_eq!(HeaderId::from_name(name.as_bytes()), HeaderId::Via);
        }
        assert_eq!(HeaderId::from_name(b"MaX-fOrWaRdS"), HeaderId::MaxForwards);
        assert_eq!(HeaderId::from_name(b"C%6Fntact"), HeaderId::Other);
        assert_eq!(HeaderId::from_name(b""), HeaderId::Other);
    }
}
