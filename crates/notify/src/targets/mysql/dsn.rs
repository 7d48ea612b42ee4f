//! Where a MySQL server is and how to log in: the Go driver's `user:password@tcp(host:3306)/database?parameter=value`.
//!
//! Of the parameters `tls`, `allowFallbackToPlaintext`, `allowCleartextPasswords` and `ssl-…` have an effect; those
//! that steer the Go driver itself are accepted and have none; any other is a variable of the session, as it is there.
//!
//! | `tls` | encrypted | the server's certificate |
//! |---|---|---|
//! | `false`, also when nothing is said | no | |
//! | `preferred` | if the server can | not checked |
//! | `skip-verify` | yes | not checked |
//! | `true` | yes | signed by somebody trusted, for this host |
//!
//! With `allowFallbackToPlaintext=true` each means: if the server can. What the Go driver takes by the name of a
//! configuration that its program has registered is said by the names of MySQL's own clients: `ssl-ca` is a PEM file of
//! the roots to trust instead of the others, `ssl-cert` and `ssl-key` are our certificate and its key, all with `tls`.
//! As with the Go driver a `/` in a value is written `%2F`.
//!
//! Source: the README of github.com/go-sql-driver/mysql, which MinIO uses.

use std::path::PathBuf;

use mysql_async::{ClientIdentity, OptsBuilder, SslOpts};
use percent_encoding::percent_decode_str;

use crate::target::host_and_port;

/// What a DSN says.
pub(super) struct Dsn {
    /// All but TLS.
    pub(super) options: OptsBuilder,
    /// Absent for a connection in the clear.
    pub(super) encryption: Option<Encryption>,
}

/// How a connection is encrypted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Encryption {
    /// Whether the server's certificate is checked.
    verifies: bool,
    /// Whether a server that cannot is spoken to in the clear.
    pub(super) falls_back: bool,
    /// A PEM file of the roots to trust instead of the others.
    authority: Option<PathBuf>,
    /// Our certificate and its private key, PEM files.
    own: Option<(PathBuf, PathBuf)>,
}

impl Encryption {
    /// The client library's settings, which trust the certificates of a PEM text unless the DSN names others.
    pub(super) fn options(&self, trusted_pem: &str) -> SslOpts {
        let roots = match &self.authority {
            Some(file) => file.clone().into(),
            None => trusted_pem.as_bytes().to_vec().into(),
        };
        let own =
            self.own.clone().map(|(certificate, key)| ClientIdentity::new(certificate.into(), key.into()));
        SslOpts::default()
            .with_disable_built_in_roots(true)
            .with_root_certs(vec![roots])
            .with_client_identity(own)
            .with_danger_accept_invalid_certs(!self.verifies)
            .with_danger_skip_domain_validation(!self.verifies)
    }

    /// Reads the parameters about it.
    fn of(parameters: &[Parameter]) -> Result<Option<Encryption>, String> {
        let value =
            |name: &str| parameters.iter().rfind(|(have, _)| have == name).map_or("", |(_, value)| value);
        let path = |name: &str| Some(value(name)).filter(|path| !path.is_empty()).map(PathBuf::from);
        let own = match (path("ssl-cert"), path("ssl-key")) {
            (Some(certificate), Some(key)) => Some((certificate, key)),
            (None, None) => None,
            _ => return Err("dsn_string must have both ssl-cert and ssl-key or neither".to_owned()),
        };
        let authority = path("ssl-ca");
        let (verifies, falls_back) = match value("tls") {
            "" | "false" | "0" if own.is_some() || authority.is_some() => {
                return Err(
                    "dsn_string has ssl-ca or ssl-cert, which take tls=true, skip-verify or preferred"
                        .to_owned(),
                );
            }
            "" | "false" | "0" => return Ok(None),
            "preferred" => (false, true),
            "skip-verify" => (false, false),
            "true" | "1" => (true, false),
            other => {
                return Err(format!(
                    "dsn_string has tls={other}, known are true, false, skip-verify and preferred"
                ));
            }
        };
        let falls_back = falls_back || is_true(value("allowFallbackToPlaintext"));
        Ok(Some(Encryption { verifies, falls_back, authority, own }))
    }
}

/// Name and value.
type Parameter = (String, String);

/// Parameters that [`Encryption::of`] reads.
const OF_ENCRYPTION: [&str; 5] = ["allowFallbackToPlaintext", "ssl-ca", "ssl-cert", "ssl-key", "tls"];

fn is_true(value: &str) -> bool {
    matches!(value, "true" | "1")
}

/// Parameters about the Go driver itself.
const OF_THE_DRIVER: [&str; 21] = [
    "allowAllFiles",
    "allowNativePasswords",
    "allowOldPasswords",
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "collation",
    "columnsWithAlias",
    "compress",
    "connectionAttributes",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "multiStatements",
    "parseTime",
    "readTimeout",
    "rejectReadOnly",
    "serverPubKey",
    "timeTruncate",
    "timeout",
    "writeTimeout",
];

/// Where the server is when nothing is said.
const DEFAULT_ADDRESS: (&str, u16) = ("127.0.0.1", 3306);

impl Dsn {
    /// Reads a DSN.
    ///
    /// # Errors
    ///
    /// A sentence that names the key and quotes nothing that may hold the password.
    pub(super) fn parse(text: &str) -> Result<Dsn, String> {
        let fault = || "dsn_string is none, one looks like user:password@tcp(host:3306)/database".to_owned();
        // From the end, since a password may hold any of these characters.
        let (before, after) = text.rsplit_once('/').ok_or_else(fault)?;
        let (login, address) = before.rsplit_once('@').unwrap_or(("", before));
        let (user, password) =
            login.split_once(':').map_or((login, None), |(user, password)| (user, Some(password)));
        let (database, parameters) = after.split_once('?').unwrap_or((after, ""));
        let database = percent_decode_str(database).decode_utf8().map_err(|_| fault())?;
        let text_of = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let options = OptsBuilder::default().user(text_of(user)).pass(password).db_name(text_of(&database));
        let options = located(options, address).ok_or_else(fault)?;
        let mut dsn = Dsn { options, encryption: None };
        let (mut variables, mut of_encryption) = (Vec::new(), Vec::new());
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').ok_or_else(fault)?;
            let value = percent_decode_str(value).decode_utf8().map_err(|_| fault())?;
            match name {
                "allowCleartextPasswords" => {
                    dsn.options = dsn.options.enable_cleartext_plugin(is_true(&value));
                }
                _ if OF_ENCRYPTION.contains(&name) => {
                    of_encryption.push((name.to_owned(), value.into_owned()))
                }
                _ if OF_THE_DRIVER.contains(&name) => {}
                _ => variables.push(format!("SET {name} = {value}")),
            }
        }
        dsn.options = dsn.options.init(variables);
        dsn.encryption = Encryption::of(&of_encryption)?;
        Ok(dsn)
    }
}

fn located(options: OptsBuilder, address: &str) -> Option<OptsBuilder> {
    let (protocol, address) = match address.split_once('(') {
        Some((protocol, rest)) => (protocol, rest.strip_suffix(')')?),
        None => (address, ""),
    };
    match protocol {
        "unix" => Some(options.socket(Some(address)).prefer_socket(true)),
        "" | "tcp" | "tcp4" | "tcp6" => {
            let (host, port) = match address {
                "" => DEFAULT_ADDRESS,
                _ if address.rsplit_once(':').is_none_or(|(_, port)| port.ends_with(']')) => {
                    (address, DEFAULT_ADDRESS.1)
                }
                _ => host_and_port(address)?,
            };
            let options = options.ip_or_hostname(host.trim_matches(['[', ']'])).tcp_port(port);
            // The library would change to a socket when it finds one.
            Some(options.prefer_socket(false))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use mysql_async::Opts;

    use super::{Dsn, Encryption};

    fn read(text: &str) -> (Opts, Option<Encryption>) {
        let dsn = Dsn::parse(text).unwrap();
        (dsn.options.into(), dsn.encryption)
    }

    #[test]
    fn a_dsn_is_read_from_its_end_since_passwords_hold_anything() {
        let (options, encryption) =
            read("u:p@ss:w/rd@tcp(db:3307)/events?tls=true&timeout=5s&time_zone=%27%2B00:00%27");
        assert_eq!((options.user(), options.pass()), (Some("u"), Some("p@ss:w/rd")));
        assert_eq!((options.ip_or_hostname(), options.tcp_port()), ("db", 3307));
        assert_eq!(
            (options.db_name(), encryption),
            (Some("events"), Some(Encryption { verifies: true, ..Encryption::default() }))
        );
        assert_eq!(options.init(), ["SET time_zone = '+00:00'"]);
    }

    #[test]
    fn what_is_not_said_is_what_the_go_driver_takes() {
        let place = |text: &str| {
            let (options, encryption) = read(text);
            assert_eq!(encryption, None);
            (options.ip_or_hostname().to_owned(), options.tcp_port())
        };
        assert_eq!(place("u:p@/events"), ("127.0.0.1".to_owned(), 3306));
        assert_eq!(place("u:p@tcp(db)/events"), ("db".to_owned(), 3306));
        assert_eq!(place("u:p@tcp([::1]:3307)/events"), ("::1".to_owned(), 3307));
        assert_eq!(place("/events"), ("127.0.0.1".to_owned(), 3306));
        assert_eq!(read("u@unix(/run/mysqld.sock)/events").0.socket(), Some("/run/mysqld.sock"));
    }

    #[test]
    fn a_certificate_and_whom_to_trust_are_said_as_to_mysqls_own_clients() {
        let encryption = |parameters: &str| read(&format!("u@/events?{parameters}")).1;
        let own = Some(("/c.pem".into(), "/k.pem".into()));
        assert_eq!(
            encryption("tls=true&ssl-ca=%2Fca.pem&ssl-cert=%2Fc.pem&ssl-key=%2Fk.pem"),
            Some(Encryption { verifies: true, falls_back: false, authority: Some("/ca.pem".into()), own })
        );
        let falls_back = Some(Encryption { falls_back: true, ..Encryption::default() });
        assert_eq!(encryption("tls=preferred"), falls_back);
        assert_eq!(encryption("tls=skip-verify&allowFallbackToPlaintext=true"), falls_back);
    }

    #[test]
    fn what_cannot_be_read_is_told_without_a_secret() {
        let told = |text: &str| Dsn::parse(text).err().unwrap();
        let fault = "dsn_string is none, one looks like user:password@tcp(host:3306)/database";
        for text in
            ["geheim", "u:geheim@tcp(db:x)/e", "u:geheim@tcp(db/e", "u:geheim@pipe(x)/e", "u:geheim@/e?tls"]
        {
            assert_eq!(told(text), fault, "{text}");
        }
        assert_eq!(
            told("u:geheim@/e?tls=own"),
            "dsn_string has tls=own, known are true, false, skip-verify and preferred"
        );
        for parameters in ["tls=true&ssl-cert=c", "ssl-ca=ca", "tls=false&ssl-cert=c&ssl-key=k"] {
            assert!(told(&format!("u:geheim@/e?{parameters}")).starts_with("dsn_string "), "{parameters}");
        }
    }
}
